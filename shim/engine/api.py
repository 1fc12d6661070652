"""The contract between the HTTP layer and the engine: options in, results out.

The engine (`shim/engine/engine.py`) turns a query text into a `QueryResult`; `shim/http` turns that into
Prometheus' JSON. Neither imports the other: both import this file. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from shim.model.errors import QueryError
from shim.model.grid import Grid
from shim.model.tenancy import Tenant
from shim.model.values import Annotations, Ints, Samples, Scalar, String, Vector

T = TypeVar("T")
Kind = Literal["scalar", "string", "vector", "matrix"]


#: Called with the future of the submitted work, which may run on for a while after its query was given up.
OnSubmitted = Callable[[Future[Any]], None]


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """The options that one request may set for its own evaluation."""

    timeout_s: float
    limit: int = 0  # series in the answer, 0 = no limit; the HTTP layer cuts, the engine may stop early
    lookback_ms: int | None = None  # of gauges and sets; None: the server's setting
    counter_lookback_ms: int | None = None  # of counters and distributions; None: the server's setting
    granularity_s: int | None = None  # None: the planner picks
    explain: bool = False
    stats: bool = False
    nocache: bool = False  # read everything from the store, even cells in memory
    over: Callable[[Any], Any] | None = None  # puts a LeafReader over that of the store (engine/evaluator.py)
    classic: bool | None = None  # distributions are shown as classic series; None: the server's setting


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The value of one query.

    `kind` is Prometheus' resultType. A range query has kind "matrix" and a Vector (or a Scalar: one series
    without labels) over `grid`; an instant query has a grid of one point. `x[5m]` at an instant has kind
    "matrix" and Samples.
    """

    kind: Kind
    value: Scalar | String | Vector | Samples
    grid: Grid
    notes: Annotations = field(default_factory=Annotations)
    explain: Mapping[str, Any] | None = None  # JSON-ready
    stats: Mapping[str, Any] | None = None  # JSON-ready: Prometheus' `timings` and `samples`, and our own


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """The value made of one query's result among several, or its error."""

    value: T | QueryError
    seconds: float


@dataclass(frozen=True, slots=True)
class Latest:
    """The latest samples of series of one stored type, all as floats.

    `kind` is the type, `view` the classic name that they were selected by.
    """

    kind: str
    view: str
    vector: Vector  # one step
    times_ms: Ints  # (rows,)


class Engine(Protocol):
    """A query engine. Its methods raise QueryError (shim/model/errors.py); any other exception is a bug."""

    async def instant(
        self, tenant: Tenant, query: str, at_ms: int, options: QueryOptions, begun: OnSubmitted | None = None
    ) -> QueryResult:
        """Evaluate `query` at one time."""
        ...

    async def instants(
        self,
        tenant: Tenant,
        queries: Sequence[str],
        at_ms: int,
        options: QueryOptions,
        work: Callable[[QueryResult], T],
        together_s: float,
        begun: OnSubmitted | None = None,
    ) -> Sequence[Answered[T]]:
        """Evaluate queries one after the other in one thread, and `work` on their results there.

        After `together_s` no further one begins: fewer answers than queries may come, but one.
        """
        ...

    async def latest(
        self,
        tenant: Tenant,
        selector: str,
        at_ms: int,
        options: QueryOptions,
        begun: OnSubmitted | None = None,
    ) -> Sequence[Latest]:
        """Return the latest samples of a selector."""
        ...

    async def range(
        self, tenant: Tenant, query: str, grid: Grid, options: QueryOptions, begun: OnSubmitted | None = None
    ) -> QueryResult:
        """Evaluate `query` at every point of `grid`."""
        ...
