"""The query engine: text -> plan -> reads -> value, within the limits of one request.

Owns the threads that queries run in and the translation of settings into limits. Knows neither HTTP nor JSON.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

import numpy as np

from indexer.clickhouse.schema.eras import Era, kept_from
from indexer.clickhouse.store import Store
from shim.catalog import Catalog
from shim.catalog.types import Part
from shim.engine.api import Answered, Kind, Latest, OnSubmitted, QueryOptions, QueryResult
from shim.engine.classic_answers import ClassicAnswer
from shim.engine.evaluator import Evaluator
from shim.engine.explanation import Planned, explained, note_readings, statistics
from shim.engine.instant_batch import InstantBatch
from shim.engine.live_edge import LiveEdge
from shim.eval.classic_view import as_classic
from shim.model.errors import BadData, TimedOut
from shim.model.grid import Grid
from shim.model.label_naming import LabelNaming
from shim.model.labels import final_labels
from shim.model.tenancy import Tenant
from shim.model.values import Annotations, Samples, Scalar, String, Value, Vector
from shim.plan.build import build
from shim.plan.label_names import label_names
from shim.plan.nodes import PlanContext, Select
from shim.plan.parse import parse
from shim.plan.rules import RULES, Rule, apply
from shim.promql.modifiers import DurationContext
from shim.promql.positions import positions
from shim.read.cell_cache.setup import CellCache
from shim.read.reader import FEW_ROWS, Reader
from shim.read.selectors import SelectorReader
from shim.read.series_slices import MAX_CELLS
from shim.read.shown_steps import first_steps, steps_shown
from shim.read.store_errors import told_of_store
from shim.read.window_plan import LEVELS, Limits
from shim.settings import ShimSettings

T = TypeVar("T")
#: Queries whose syntax trees are kept, as rules and dashboards repeat them; trees of longer texts are not.
_PARSED: Final = 4_096
_SHORT_QUERY: Final = 2_000
#: Seconds until work that was given up is ended once more, doubled each time up to the longest.
_AGAIN_S: Final = 1.0
_LONGEST_S: Final = 30.0


class QueryEngine:
    """Answers queries; safe for concurrent use.

    `now_s` is the clock. `rules` are applied to every plan; tests leave
    some out. `few_rows` says which readings are added up here rather than in ClickHouse,
    `slice_cells` which are made in slices of the series. `blocks`: cells that
    are kept in memory, closed with the engine. `edge` says which buckets are complete; None: time alone does.
    `eras` returns the retentions that stored rows have; None: that of the settings.
    """

    def __init__(  # noqa: PLR0913 - the parts of one process, each by its name
        self,
        store: Store,
        catalog: Catalog,
        settings: ShimSettings,
        now_s: Callable[[], float] = time.time,
        rules: Sequence[Rule] = RULES,
        few_rows: int = FEW_ROWS,
        slice_cells: int = MAX_CELLS,
        blocks: CellCache | None = None,
        edge: LiveEdge | None = None,
        eras: Callable[[], Sequence[Era]] | None = None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._settings = settings
        self._eras = eras or (lambda: (Era(0, settings.retention, ()),))
        self._now_s = now_s
        self._rules = rules
        self._few_rows = few_rows
        self._slice_cells = slice_cells
        self._blocks = blocks
        self._parse = lru_cache(_PARSED)(parse)
        self._edge = edge or LiveEdge(settings.settle_s)
        # Two pools: a query waits for its own reads, so they must not wait for other queries.
        self._queries = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="query")
        self._reads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="read")

    @property
    def reads(self) -> Executor:
        """The threads that the readings of queries run in."""
        return self._reads

    def close(self) -> None:
        """Wait for running queries, cancel queued ones and close the cell cache."""
        self._queries.shutdown(wait=True, cancel_futures=True)
        self._reads.shutdown(wait=True, cancel_futures=True)
        if self._blocks is not None:
            self._blocks.close()

    async def instant(
        self, tenant: Tenant, query: str, at_ms: int, options: QueryOptions, begun: OnSubmitted | None = None
    ) -> QueryResult:
        """Evaluate `query` at one time. Raises QueryError."""
        return await self._submit(tenant, query, Grid.instant(at_ms), options, begun, instant=True)

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
        """Evaluate queries one after the other in one thread; each has the time of `options`."""
        answer = partial(self._answer, grid=Grid.instant(at_ms), options=options, instant=True)
        batch = InstantBatch(answer, partial(self._reader, tenant, options), work)
        run = partial(batch.run, queries, together_s)
        try:
            await self._in_thread(run, batch.cancel, options.timeout_s + together_s, begun)
        except TimedOut as e:
            return [*batch.found, Answered(e, options.timeout_s)]
        return batch.found

    async def range(
        self, tenant: Tenant, query: str, grid: Grid, options: QueryOptions, begun: OnSubmitted | None = None
    ) -> QueryResult:
        """Evaluate `query` at every point of `grid`. Raises QueryError."""
        return await self._submit(tenant, query, grid, options, begun, instant=False)

    async def latest(
        self,
        tenant: Tenant,
        selector: str,
        at_ms: int,
        options: QueryOptions,
        begun: OnSubmitted | None = None,
    ) -> Sequence[Latest]:
        """Return the latest samples of a selector, distributions as classic series. Raises QueryError."""
        reader = self._reader(tenant, options)
        return await self._run(
            reader, partial(self._latest, reader, selector, at_ms, options), options, begun
        )

    def plan(self, query: str, grid: Grid, options: QueryOptions) -> Planned:
        """Return the plan before and after the rules, without reading data. Raises BadData."""
        step_ms = 0 if grid == Grid.instant(grid.start_ms) else grid.step_ms
        settings = self._settings
        durations = DurationContext(step_ms, grid.end_ms - grid.start_ms) if settings.experimental else None
        parsed = self._parse if len(query) <= _SHORT_QUERY else parse
        tree = parsed(query, durations, settings.max_query_bytes)
        context = PlanContext(
            grid,
            options.lookback_ms or round(settings.lookback_s * 1000),
            counter_lookback_ms=options.counter_lookback_ms or round(settings.counter_lookback_s * 1000),
            experimental=settings.experimental,
        )
        built = build(tree, context)
        # Leaves that are not in the store alone cannot be merged in it.
        return Planned(tree, built, apply(built, self._rules if options.over is None else ()))

    async def read(
        self,
        tenant: Tenant,
        work: Callable[[Reader], T],
        end_ms: int,
        options: QueryOptions,
        begun: OnSubmitted | None = None,
    ) -> T:
        """Work with a reader of the tenant, in the pool and until the deadline. Raises QueryError."""
        reader = self._reader(tenant, options)

        def limited() -> T:
            reader.limits = self._limits(tenant, Grid.instant(end_ms), options)
            with told_of_store(reader.tag):
                return work(reader)

        return await self._run(reader, limited, options, begun)

    async def _submit(
        self,
        tenant: Tenant,
        query: str,
        grid: Grid,
        options: QueryOptions,
        begun: OnSubmitted | None,
        *,
        instant: bool,
    ) -> QueryResult:
        reader = self._reader(tenant, options)
        work = partial(self._answer, reader, query, grid, options, instant=instant)
        return await self._run(reader, work, options, begun)

    async def _run(
        self, reader: Reader, work: Callable[[], T], options: QueryOptions, begun: OnSubmitted | None
    ) -> T:
        """Work on a query in its pool until its deadline."""
        return await self._in_thread(work, reader.cancel, options.timeout_s, begun)

    async def _in_thread(
        self, work: Callable[[], T], cancel: Callable[[], None], timeout_s: float, begun: OnSubmitted | None
    ) -> T:
        """Work in the pool of queries; call `cancel` after `timeout_s`, or if it is given up."""
        loop = asyncio.get_running_loop()
        running = self._queries.submit(work)
        if begun is not None:
            begun(running)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(running)
        except TimeoutError:
            _end(cancel, running, loop)
            raise TimedOut("query timed out in expression evaluation") from None
        except asyncio.CancelledError:
            _end(cancel, running, loop)
            raise

    def _reader(self, tenant: Tenant, options: QueryOptions) -> Reader:
        return Reader(
            self._store,
            tenant,
            Limits(),  # set when the query begins
            max_rows=self._settings.max_samples,
            max_cells=self._settings.max_samples,
            deadline_s=time.monotonic() + options.timeout_s,
            few_rows=self._few_rows,
            slice_cells=self._slice_cells,
            blocks=None if options.nocache else self._blocks,
        )

    def _answer(
        self, reader: Reader, query: str, grid: Grid, options: QueryOptions, *, instant: bool
    ) -> QueryResult:
        if time.monotonic() >= reader.deadline_s:
            raise TimedOut("query timed out in query queue")
        start = time.perf_counter()
        reader.limits = self._limits(reader.tenant, grid, options)
        planned = self.plan(query, grid, options)
        prepared = time.perf_counter()
        notes = Annotations()
        naming = LabelNaming.of(self._settings.names, *label_names(planned.built))
        select = partial(self._catalog.select, reader.tenant, tag=reader.tag, kept=naming.kept)
        classic = ClassicAnswer(self._catalog, reader) if self._shows_classic(options) else None
        noted = select if classic is None else classic.noting(select)
        total = partial(self._catalog.total, reader.tenant, tag=reader.tag, kept=naming.kept)
        bounds = partial(self._bounds, reader)
        leaves = SelectorReader(reader, noted, bounds, notes, naming, total if classic is None else None)
        over = leaves if options.over is None else options.over(leaves)
        with told_of_store(reader.tag):  # look-ups of series; readers translate errors themselves
            value = Evaluator(over, notes, self._reads).run(planned.plan)
            if classic is not None:
                value = classic.shown(value)
        done = time.perf_counter()
        if notes.placed:
            notes = notes.positioned(positions(query, planned.tree))
        note_readings(notes, reader)
        if not instant and isinstance(value, String | Samples):
            what = "range vector" if isinstance(value, Samples) else "string"
            raise BadData(
                f'invalid expression type "{what}" for range query, must be Scalar or instant Vector'
            )
        if not instant and isinstance(value, Scalar | Vector):
            grid, value = _complete(grid, value, reader)
        timings = {"prepared_ms": (prepared - start) * 1000, "evaluated_ms": (done - prepared) * 1000}
        explain = explained(planned, reader, timings) if options.explain else None
        stats = statistics(reader, timings) if options.stats else None
        return QueryResult(_kind(value, instant=instant), value, grid, notes, explain, stats)

    def _latest(self, reader: Reader, selector: str, at_ms: int, options: QueryOptions) -> Sequence[Latest]:
        grid = Grid.instant(at_ms)
        reader.limits = self._limits(reader.tenant, grid, options)
        select = self.plan(selector, grid, options).built
        if not isinstance(select, Select):
            raise BadData(f"{selector}: expected a vector selector")
        classic = ClassicAnswer(self._catalog, reader)
        found = classic.noting(partial(self._catalog.select, reader.tenant, tag=reader.tag))
        leaves = SelectorReader(reader, found, partial(self._bounds, reader), Annotations())
        end_s = at_ms // 1000
        if reader.limits.settled_s is not None:
            end_s = min(end_s, reader.limits.settled_s)
        counted_ms = end_s // 10 * 10_000  # when the last bucket that counts has ended
        out = []
        for part, vector, times_ms in leaves.instants(select):
            shown = as_classic(vector, classic.ladder, reader.check_cells)
            shown = replace(shown, labels=list(map(final_labels, shown.labels)))
            reader.hold(shown.cells)
            own = np.full(len(shown.labels), counted_ms) if times_ms is None else times_ms[:, 0]
            out.append(Latest(part.kind, part.view, shown, own))
        return out

    def _shows_classic(self, options: QueryOptions) -> bool:
        return self._settings.histograms == "classic" if options.classic is None else options.classic

    def _bounds(self, reader: Reader, part: Part) -> Sequence[float]:
        """Return the boundaries that `x_bucket` has for a part. Raises StoreError."""
        return self._catalog.ladders.bounds(reader.tenant, part.metric_ids, part.le_matchers, tag=reader.tag)

    def _limits(self, tenant: Tenant, grid: Grid, options: QueryOptions) -> Limits:
        now_s = self._now_s()
        return Limits(
            settled_s=self._edge.complete_s(tenant, grid.end_ms, now_s),
            forced_s=_granularity(options.granularity_s),
            kept_from_s=kept_from(self._eras(), int(now_s)),
        )


def _complete(grid: Grid, value: Scalar | Vector, reader: Reader) -> tuple[Grid, Value]:
    """Return the grid of shown steps, and the value over it."""
    if reader.limits.settled_s is None or grid.end_ms <= reader.limits.settled_s * 1000:
        return grid, value
    steps = steps_shown(grid, reader.seen, reader.limits.settled_s)
    if steps == grid.steps:
        return grid, value
    if not steps:
        return grid, Vector.empty(grid.steps)
    shown = Grid(grid.start_ms, grid.start_ms + (steps - 1) * grid.step_ms, grid.step_ms)
    return shown, first_steps(value, steps)


def _granularity(asked_s: int | None) -> int:
    """Return the largest rollup that divides the requested granularity (Snuba's rule); 0: none requested."""
    if asked_s is None:
        return 0
    fits = next((g for g in LEVELS if asked_s % g == 0), None)
    if fits is None:
        raise BadData(f'invalid parameter "granularity": {asked_s} is no multiple of 10')
    return fits


def _kind(value: Value | Samples, *, instant: bool) -> Kind:
    match value:
        case Samples():
            return "matrix"
        case _ if not instant:
            return "matrix"
        case Scalar():
            return "scalar"
        case String():
            return "string"
    return "vector"


def _end(
    cancel: Callable[[], None],
    running: Future[Any],
    loop: asyncio.AbstractEventLoop,
    pause_s: float = _AGAIN_S,
) -> None:
    """End work that was given up, again and again: a statement may reach the server after the first time."""
    loop.run_in_executor(None, cancel)  # not in our pools: they may be full of the work to be cancelled

    def again() -> None:
        if not running.done():
            with suppress(RuntimeError):  # the process ends
                _end(cancel, running, loop, min(2 * pause_s, _LONGEST_S))

    loop.call_later(pause_s, again)
