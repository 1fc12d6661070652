"""The contract between the evaluation of a group and the place its data is in: a store, or memory. Pure."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from shim.model.errors import ExecutionError
from shim.model.labels import Labels
from shim.model.values import Samples, Scalar, String, Vector
from shim.promql.ast import Expr
from shim.rules.recorded_histogram import RecordedHistogram

T = TypeVar("T")
#: The series of an instant vector with their values.
InstantVector = Sequence[tuple[Labels, float]]


class RuleQueries(Protocol):
    """Queries of one tick of a group. They raise QueryError."""

    async def query(self, expr: Expr, text: str, at_ms: int) -> InstantVector:
        """Return a vector; a scalar is a series without labels. `text` is that of `expr`."""

    async def query_histograms(
        self, expr: Expr, text: str, at_ms: int
    ) -> Sequence[tuple[Labels, RecordedHistogram]]:
        """Return the native histograms of an expression that yields no numbers."""

    def seconds_of(self, text: str) -> float | None:
        """Return how long the query of an expression took; None: as long as it was waited for."""

    def query_text(self, text: str, at_ms: int) -> InstantVector:
        """Return the vector of a query in a template. Blocks."""

    async def apart(self, call: Callable[[], T]) -> T:
        """Run `call`, which may block and compute for a while."""

    def check_time(self) -> None:
        """Refuse to go on with a long `call`. Raises QueryError."""


class SampleSink(Protocol):
    """Takes the results of rules; later rules of the tick see them."""

    def append(self, labels: Labels, time_ms: int, value: float | None, /) -> None:
        """Add a sample; None ends its series."""

    def append_histogram(self, labels: Labels, time_ms: int, value: RecordedHistogram, /) -> None:
        """Add a histogram."""


def check_series(count: int, max_series: int) -> None:
    """Raise ExecutionError if a rule yields too many series; `max_series` 0: any number."""
    if max_series and count > max_series:
        raise ExecutionError(
            f"the rule yields {count} series: expected at most {max_series} (setting shim.rules.max_series)"
        )


def instant_vector(value: Scalar | String | Vector | Samples) -> InstantVector:
    """Return the series of a query's value. Raises ExecutionError if it has none, or has histograms."""
    if isinstance(value, Scalar):
        return [((), float(value.values[0]))]
    if not isinstance(value, Vector):
        raise ExecutionError("rule result is not a vector or scalar")
    if value.histograms:
        raise ExecutionError(
            "the result has native histograms: expected numbers, as histogram_quantile() or"
            " histogram_count() return; a recording rule of an increase may have the label"
            " __type__: histogram"
        )
    return [
        (labels, float(row[0]))
        for labels, row, present in zip(value.labels, value.values, value.present, strict=True)
        if present[0]
    ]


def result_of(never_waits: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over queries that never wait. Needs no event loop."""
    try:
        never_waits.send(None)
    except StopIteration as e:
        value: T = e.value
        return value
    never_waits.close()
    raise RuntimeError("the coroutine waits: expected queries in memory")
