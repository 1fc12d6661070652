"""Queries of rules on the engine: admitted in turn, bounded in time, over the results of the same tick.

The first query of a tick takes those along that read no results of it, as many as some milliseconds allow:
one slot and one hand-over to a thread for all. A group whose queries take long gets slots of its own kind, so
that others never wait for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import numpy as np

from shim.engine.api import Answered, Engine, OnSubmitted, QueryOptions, QueryResult
from shim.model.errors import ExecutionError, QueryError, TimedOut, Unavailable
from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.model.values import Samples, Scalar, String, Vector
from shim.promql.ast import Expr
from shim.rules.memory_samples import MemorySamples
from shim.rules.overlay_leaves import OverlayLeaves, names_read
from shim.rules.recorded_histogram import RecordedHistogram, histogram_vector
from shim.rules.rule_queries import InstantVector, check_series, instant_vector

T = TypeVar("T")
#: How long a rule waits for a slot among rules, in times of the longest query.
_PATIENCE: Final = 60
#: A group is slow after a query, or queries of one tick, of these seconds, until those of a tick take less.
_SLOW_S: Final = 1.0
_SLOW_TICK_S: Final = 2.0
_FAST_S: Final = 0.5
#: Seconds after which no further query of a group begins under the same slot.
_TOGETHER_S: Final = 0.05


class RunningQuery(Protocol):
    """The slot of a query that runs."""

    def lasts(self, work: Future[Any], /) -> None:
        """Hold the slot until `work` has ended."""


class QuerySlots(Protocol):
    """The admission of queries (shim/http/admission.py)."""

    def turn(self, timeout_s: float, org_id: int = 0) -> AbstractAsyncContextManager[RunningQuery]:
        """Wait for a slot, and limit the body to `timeout_s` from now. Raises TimedOut."""


@dataclass(frozen=True, slots=True)
class QueryPlace:
    """The parts that queries of all rules share.

    `own_slots` bounds the queries of rules among themselves, `slow_slots` those of groups that are slow, and
    `slots` those of all clients. `pool` runs templates and other long computations, as `pool_slots` says. A
    rule yields at most `max_series`; 0: any number.
    """

    engine: Engine
    own_slots: QuerySlots
    slots: QuerySlots
    pool_slots: QuerySlots
    pool: Executor
    timeout_s: float
    slow_slots: QuerySlots | None = None
    max_series: int = 0

    async def apart(self, call: Callable[[], T], org_id: int) -> T:
        """Run `call` in a thread when the org has one. Raises Unavailable if it gets none."""
        try:
            async with self.pool_slots.turn(_PATIENCE * self.timeout_s, org_id) as slot:
                work = self.pool.submit(call)
                slot.lasts(work)
                return await asyncio.wrap_future(work)
        except TimedOut as e:
            raise Unavailable(f"no thread for the results of a rule: {e}") from None


@dataclass(slots=True)
class StoreQueries:
    """Queries of one group at one tick. `seen`: results of its earlier rules.

    `early`: expressions that may be evaluated before they are asked for. `slow`: the group was slow before.
    """

    place: QueryPlace
    tenant: Tenant
    seen: MemorySamples
    loop: asyncio.AbstractEventLoop
    early: Sequence[str] = ()
    slow: bool = False
    longest_s: float = 0.0  # of the queries so far
    total_s: float = 0.0
    _answers: dict[str, Answered[InstantVector]] = field(default_factory=dict)
    templates_until_s: float = 0.0  # time.monotonic()

    @staticmethod
    def of_tick(
        place: QueryPlace,
        tenant: Tenant,
        seen: MemorySamples,
        early: Sequence[str] = (),
        *,
        slow: bool = False,
    ) -> StoreQueries:
        """Make the queries of a tick, in the running loop."""
        return StoreQueries(place, tenant, seen, asyncio.get_running_loop(), early, slow)

    async def query(self, expr: Expr, text: str, at_ms: int) -> InstantVector:
        """Return a vector. Raises QueryError; Unavailable if there was no slot."""
        options = self._options_of(expr)
        if options.over is not None:
            self._answers.pop(text, None)  # of an earlier rule that did not see the results
            return await self.ask(text, at_ms, options)
        if text not in self._answers:
            await self._ask_together(text, at_ms)
        value = self._answers[text].value
        if isinstance(value, QueryError):
            raise value
        return value

    async def query_histograms(
        self, expr: Expr, text: str, at_ms: int
    ) -> Sequence[tuple[Labels, RecordedHistogram]]:
        """Return native histograms. Raises as `query` does."""
        return histogram_vector(await self._value(text, at_ms, self._options_of(expr)))

    def seconds_of(self, text: str) -> float | None:
        """Return how long the query of an expression took; None: as long as it was waited for."""
        return self._answers[text].seconds if text in self._answers else None

    async def _ask_together(self, text: str, at_ms: int) -> None:
        """Evaluate a query, and those of `early` that come after it while the time allows."""
        asked = [text]
        if text in self.early:
            later = self.early[self.early.index(text) + 1 :]
            asked += [one for one in later if one not in self._answers]
        place = self.place
        async with self._slot() as begun:
            found = await place.engine.instants(
                self.tenant, asked, at_ms, self._options, self._vector, _TOGETHER_S, begun
            )
        for one, answer in zip(asked, found, strict=False):
            self._answers[one] = answer
            self._took(answer.seconds)

    def _vector(self, result: QueryResult) -> InstantVector:
        """Return the series of a result; called in the thread of the query. Raises ExecutionError."""
        if isinstance(result.value, Vector) and not result.value.histograms:
            check_series(int(np.count_nonzero(result.value.present[:, 0])), self.place.max_series)
        return instant_vector(result.value)

    def query_text(self, text: str, at_ms: int) -> InstantVector:
        """Return the vector of a template's query. Called in a thread of `apart`. Raises QueryError."""
        self.check_time()
        left_s = self.templates_until_s - time.monotonic()
        asked = asyncio.run_coroutine_threadsafe(self.ask(text, at_ms, self._options), self.loop)
        try:
            return asked.result(left_s)
        except TimeoutError:
            asked.cancel()
            raise TimedOut("the query of a template timed out") from None

    async def apart(self, call: Callable[[], T]) -> T:
        """Run `call` in a thread; it asks `check_time` whether to go on. Raises QueryError."""

        def begun() -> T:
            self.templates_until_s = time.monotonic() + self.place.timeout_s
            return call()

        return await self.place.apart(begun, self.tenant.org_id)

    def check_time(self) -> None:
        """Refuse to go on with templates after the time of a query. Raises ExecutionError."""
        if time.monotonic() > self.templates_until_s:
            raise ExecutionError(
                f"the templates of the rule took more than {self.place.timeout_s:g} s"
                " (setting shim.rules.timeout_s)"
            )

    def _options_of(self, expr: Expr) -> QueryOptions:
        """Return options under which a query sees results of the same tick."""
        options = self._options
        if any(self._is_seen(name) for name in names_read(expr)):
            options = replace(options, over=partial(OverlayLeaves, samples=self.seen))
        return options

    def _is_seen(self, name: str | None) -> bool:
        return self.seen.has(name)

    @property
    def _options(self) -> QueryOptions:
        return QueryOptions(timeout_s=self.place.timeout_s)

    async def ask(self, text: str, at_ms: int, options: QueryOptions | None = None) -> InstantVector:
        """Return the vector of a query in text. Raises QueryError; Unavailable if there was no slot."""
        return instant_vector(await self._value(text, at_ms, options or self._options))

    async def samples(self, text: str, at_ms: int) -> Samples:
        """Return the samples of a query in text, a selector with a window. Raises as `ask` does."""
        found = await self._value(text, at_ms, self._options)
        if not isinstance(found, Samples):
            raise ExecutionError(f"{text}: expected a selector with a window")
        return found

    async def _value(
        self, text: str, at_ms: int, options: QueryOptions
    ) -> Scalar | String | Vector | Samples:
        async with self._slot() as begun:
            began_s = time.perf_counter()
            try:
                found = await self.place.engine.instant(self.tenant, text, at_ms, options, begun)
            finally:
                self._took(time.perf_counter() - began_s)
        return found.value

    def _took(self, seconds: float) -> None:
        self.longest_s = max(self.longest_s, seconds)
        self.total_s += seconds
        self.slow = self.slow or self.longest_s > _SLOW_S or self.total_s > _SLOW_TICK_S

    @property
    def fast(self) -> bool:
        """Whether the queries of the tick took so little that the group is slow no more."""
        return self.total_s < _FAST_S

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[OnSubmitted]:
        """Wait for the slots of a query; yield the function to call once it has begun. Raises Unavailable."""
        place, admitted, org_id = self.place, False, self.tenant.org_id
        own_slots = place.own_slots if place.slow_slots is None or not self.slow else place.slow_slots
        try:
            async with (
                own_slots.turn(_PATIENCE * place.timeout_s, org_id) as own,
                place.slots.turn(place.timeout_s, org_id) as slot,
            ):
                admitted = True

                def begun(work: Future[Any]) -> None:
                    """Hold both slots until the thread has ended, also after a timeout."""
                    own.lasts(work)
                    slot.lasts(work)

                yield begun
        except TimedOut as e:
            if admitted:
                raise
            raise Unavailable(f"no slot for the query of a rule: {e}") from None
