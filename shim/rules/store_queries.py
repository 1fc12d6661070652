"""Queries of rules on the engine: admitted in turn, bounded in time, over the results of the same tick."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from shim.engine.api import Engine, QueryOptions
from shim.model.errors import ExecutionError, TimedOut, Unavailable
from shim.model.labels import Labels
from shim.model.tenancy import Tenant
from shim.model.values import Samples, Scalar, String, Vector
from shim.promql.ast import Expr
from shim.rules.memory_samples import MemorySamples
from shim.rules.overlay_leaves import OverlayLeaves, names_read
from shim.rules.recorded_histogram import RecordedHistogram, histogram_vector
from shim.rules.rule_queries import InstantVector, instant_vector

T = TypeVar("T")
#: How long a rule waits for a slot among rules, in times of the longest query.
_PATIENCE: Final = 60


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

    `own_slots` bounds the queries of rules among themselves, `slots` those of all clients. `pool` runs
    templates and other long computations, as `pool_slots` says.
    """

    engine: Engine
    own_slots: QuerySlots
    slots: QuerySlots
    pool_slots: QuerySlots
    pool: Executor
    timeout_s: float

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
    """Queries of one group at one tick. `seen`: results of its earlier rules."""

    place: QueryPlace
    tenant: Tenant
    seen: MemorySamples
    loop: asyncio.AbstractEventLoop
    templates_until_s: float = 0.0  # time.monotonic()

    @staticmethod
    def of_tick(place: QueryPlace, tenant: Tenant, seen: MemorySamples) -> StoreQueries:
        """Make the queries of a tick, in the running loop."""
        return StoreQueries(place, tenant, seen, asyncio.get_running_loop())

    async def query(self, expr: Expr, text: str, at_ms: int) -> InstantVector:
        """Return a vector. Raises QueryError; Unavailable if there was no slot."""
        return await self.ask(text, at_ms, self._options_of(expr))

    async def query_histograms(
        self, expr: Expr, text: str, at_ms: int
    ) -> Sequence[tuple[Labels, RecordedHistogram]]:
        """Return native histograms. Raises as `query` does."""
        return histogram_vector(await self._value(text, at_ms, self._options_of(expr)))

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
        place, admitted = self.place, False
        try:
            async with (
                place.own_slots.turn(_PATIENCE * place.timeout_s, self.tenant.org_id) as own,
                place.slots.turn(place.timeout_s, self.tenant.org_id) as slot,
            ):
                admitted = True

                def begun(work: Future[Any]) -> None:
                    """Hold both slots until the thread has ended, also after a timeout."""
                    own.lasts(work)
                    slot.lasts(work)

                found = await place.engine.instant(self.tenant, text, at_ms, options, begun)
        except TimedOut as e:
            if admitted:
                raise
            raise Unavailable(f"no slot for the query of a rule: {e}") from None
        return found.value
