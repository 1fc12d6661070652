"""One group that runs: which of its ticks are stored, and the evaluation of those that are due.

Ticks are stored in order. Late ones are caught up by the recording rules alone; alerts are evaluated at the
newest tick, also while nothing can be stored. A group that takes longer than its interval skips ticks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from shim.model.errors import Canceled, QueryError, Unavailable
from shim.model.labels import Labels
from shim.rules.alert_notices import notices
from shim.rules.early_queries import early_queries
from shim.rules.group_restore import restore
from shim.rules.recorded_messages import TickResults, key_of, non_finite
from shim.rules.rule_file import AlertingRule, RecordingRule
from shim.rules.store_queries import StoreQueries
from shim.rules.tenant_group import TenantGroup
from shim.rules.tick_requests import tick_parts
from shim.rules.tick_storage import Outcome, TickStorage
from shim.rules.unsent_tick import UnsentTick
from shim.ticks.due_ticks import DueTicks, Schedule, due_ticks

_log: Final = logging.getLogger("shim.rules")
_ticks_log: Final = logging.getLogger("shim.rules.ticks")  # a line for each tick, at the level DEBUG

#: Errors after which the same tick is evaluated again, and how often that is tried.
_PASSING: Final = (Canceled, Unavailable)
_MAX_TRIES: Final = 3
#: Seconds between tries: doubled from the first to the last.
_FIRST_WAIT_S: Final = 1.0
_MAX_WAIT_S: Final = 30.0
#: Results that are encoded here; more are handed to a thread.
_AT_ONCE: Final = 500


@dataclass(slots=True)
class GroupRunner(TenantGroup):
    """Runs one group of a tenant."""

    _early: Sequence[Sequence[str]] = field(init=False)  # without and with those of alerts
    last_s: int | None = None  # the last tick that is stored
    alerted_s: int = 0  # the last tick at which alerts were evaluated
    restored: bool = False
    unended: set[Labels] | None = None  # the series at the last tick that is stored, once later ones are not
    unsent: UnsentTick | None = None
    seconds: float = 0.0  # that the last tick took
    slow: bool = False
    evaluated_s: float = 0.0  # of the last tick, without its write
    begun_s: float = 0.0  # when its ticks were last found due
    stored_at_s: float = 0.0
    retry_at_s: float = 0.0
    tries: int = 0

    def __post_init__(self) -> None:
        TenantGroup.__post_init__(self)  # super() does not work in a dataclass with slots
        self._early = [early_queries(self.group.rules, alerts=alerts) for alerts in (False, True)]

    def due(self, complete_s: int) -> DueTicks:
        """Return the ticks whose data is complete; `complete_s` is the end of the last complete bucket.

        A tick within a bucket reads deltas up to the bucket's start.
        """
        now_s = int(self.parts.now_s())
        offset_s = self.group.query_offset_ms // 1000
        end_s = min(complete_s + 9 + offset_s, now_s)
        return due_ticks(self._schedule, self.last_s, end_s, self.parts.settings.max_late_ticks)

    @property
    def next_s(self) -> int:
        """The next tick."""
        schedule = self._schedule
        return schedule.last_at(max(schedule.since_s, self.last_s or 0)) + self.step_s

    @property
    def _schedule(self) -> Schedule:
        """The ticks after the last one that is stored; of a new group those after it was loaded."""
        return self.schedule if self.last_s is None else replace(self.schedule, since_s=0)

    async def end(self) -> None:
        """End the series of a group that was removed, now."""
        if not self.restored or not self.parts.lease.holds(self.key):
            return
        tick_s = max(int(self.parts.now_s()), (self.last_s or 0) + 1)
        results = TickResults(self.deltas)
        for labels in self.evaluation.ending.union(self.unended or (), *self.evaluation.before):
            results.append(labels, tick_s * 1000 - self.group.query_offset_ms, None)
        try:
            if results.all:
                await self._store(tick_s, results)
        except QueryError as e:
            _log.warning("event=rule_series_not_ended group=%s error=%s", self.key, e)

    def forget(self) -> None:
        """Drop the state: another process goes on with the group."""
        if self.restored:
            self.evaluation = self.new_evaluation()
            self.restored, self.last_s, self.alerted_s = False, None, 0
            self.unended = self.unsent = None

    def follow_clock(self) -> None:
        """Restore the stored state once more if the clock was set back: ticks ahead of it never come."""
        now_s = self.parts.now_s()
        if self.retry_at_s > now_s + max(self.step_s, _MAX_WAIT_S):
            self.retry_at_s = 0.0
        last_s = max(self.last_s or 0, self.alerted_s, self.unsent.tick_s if self.unsent else 0)
        if last_s > now_s + self.step_s:
            _log.warning("event=clock_set_back group=%s last_tick=%d", self.key, last_s)
            self.forget()
        if self.schedule.since_s > now_s + self.step_s:
            self.schedule = replace(self.schedule, since_s=int(now_s))

    def adopt(self, older: GroupRunner) -> None:
        """Take over the state of the group as it was before its file changed."""
        self.restored, self.last_s = older.restored, older.last_s
        self.alerted_s, self.stored_at_s = older.alerted_s, older.stored_at_s
        if self.step_s != older.step_s and self.last_s is not None:
            self.last_s = self.schedule.last_at(self.last_s)
        left = dict(enumerate(older.group.rules))
        for number, rule in enumerate(self.group.rules):
            same = next((n for n, o in left.items() if (o.name, o.labels) == (rule.name, rule.labels)), None)
            if same is None or type(left[same]) is not type(rule):
                continue
            del left[same]
            states, before = self.evaluation.states[number], older.evaluation.states[same]
            if states is not None and before is not None:
                states.active = before.active
            self.evaluation.before[number] = older.evaluation.before[same]
            self.evaluation.health[number] = older.evaluation.health[same]
        self.evaluation.ending = older.evaluation.ending.union(*(older.evaluation.before[n] for n in left))
        self.unended = older.unended

    # ------------------------------------------------------------ running

    async def run(self, complete_s: int) -> None:
        """Evaluate and store the ticks that are due. Raises nothing but bugs."""
        self.begun_s = self.parts.now_s()
        try:
            if not self.restored:
                self.last_s = await restore(self)
                self.alerted_s = self.last_s or 0
                self.restored = True
            await self._run(self.due(complete_s))
        except QueryError as e:
            self._delay(e)

    async def _run(self, due: DueTicks) -> None:
        """Evaluate ticks. Raises QueryError: the first tick that is not stored is tried again."""
        ticks, skipped = list(due.ticks), due.skipped
        if not self.records or self.seconds > self.step_s:
            skipped += len(ticks[:-1])
            ticks = ticks[-1:]
        if not ticks:
            return
        if skipped:
            self.parts.metrics.rule_ticks.labels("missed").inc(skipped)
            _log.warning("event=rule_ticks_missed group=%s ticks=%d", self.key, skipped)
        try:
            for tick_s in ticks[:-1]:
                await self._tick(tick_s, alerts=False)
        except QueryError:
            if ticks[-1] > self.alerted_s:
                await self._tick(ticks[-1], alerts=True, store=False)
            raise
        await self._tick(ticks[-1], alerts=True)
        self.tries, self.retry_at_s = 0, 0.0

    async def _tick(self, tick_s: int, *, alerts: bool, store: bool = True) -> None:
        """Evaluate and store one tick. Raises QueryError."""
        if store and self._is_evaluated(tick_s, alerts=alerts):
            await self._store_again()
            return
        parts, began_s = self.parts, time.perf_counter()
        results = TickResults(self.deltas)
        early = self._early[alerts]
        queries = StoreQueries.of_tick(parts.place, self.tenant, results.seen, early, slow=self.slow)
        if self.unended is None:
            self.unended = self.evaluation.ending.union(*self.evaluation.before)
        self.evaluation.ending = self.evaluation.ending | self.unended
        passing = _PASSING if self.tries < _MAX_TRIES else ()
        try:
            failed = await self.evaluation.evaluate(
                tick_s * 1000, queries, results, alerts=alerts, passing=passing
            )
        finally:
            self.slow = queries.slow and not queries.fast
        self._count(failed, alerts=alerts)
        evaluated = sum(alerts or isinstance(rule, RecordingRule) for rule in self.group.rules)
        if not passing and failed and len(failed) == evaluated:
            raise Unavailable(f"no rule could be evaluated: {failed[0][1]}")
        if alerts:
            self.alerted_s = tick_s
            await parts.sink.send(
                self.tenant, notices(self.evaluation, parts.external.labels, tick_s, self.step_s)
            )
        self.evaluated_s = time.perf_counter() - began_s
        if store:
            self.unsent = UnsentTick(tick_s, results, self.evaluation.before)
            await self._store(tick_s, results)
            self.last_s, self.stored_at_s = tick_s, parts.now_s()
            self.unended = self.unsent = None
        self.seconds = time.perf_counter() - began_s
        parts.metrics.rule_group_seconds.observe(self.seconds)
        if alerts:
            self._measure(tick_s)

    def _is_evaluated(self, tick_s: int, *, alerts: bool) -> bool:
        """Return whether the results of a tick are there, and only could not be stored."""
        of = self.unsent
        return of is not None and of.tick_s == tick_s and (not alerts or self.alerted_s >= tick_s)

    async def _store_again(self) -> None:
        """Store the results of the unsent tick; later ones may be evaluated by now. Raises Unavailable."""
        of = self.unsent
        assert of is not None
        await self._store(of.tick_s, of.results)
        self.last_s, self.stored_at_s = of.tick_s, self.parts.now_s()
        self.unended, self.unsent = set[Labels]().union(*of.series), None

    def _measure(self, tick_s: int) -> None:
        """Tell how late the newest tick ends: from its own time, and from when its data was complete."""
        now_s, metrics = self.parts.now_s(), self.parts.metrics
        bucket_s = (tick_s - self.group.query_offset_ms // 1000) // 10 * 10
        ready_s = max(tick_s, min(self.begun_s, bucket_s + self.parts.settle_s))
        delay_s, lag_s = max(0.0, now_s - tick_s), max(0.0, now_s - ready_s)
        metrics.rule_tick_delay_seconds.observe(delay_s)
        metrics.rule_tick_lag_seconds.observe(lag_s)
        _ticks_log.debug(
            "event=rule_tick group=%s slow=%d stored_s=%.3f tick=%d delay_s=%.3f lag_s=%.3f seconds=%.3f",
            self.key, self.slow, self.seconds - self.evaluated_s, tick_s, delay_s, lag_s, self.seconds,
        )  # fmt: skip

    def _count(self, failed: list[tuple[str, str]], *, alerts: bool) -> None:
        kinds = [isinstance(rule, AlertingRule) for rule in self.group.rules]
        evaluations = self.parts.metrics.rule_evaluations
        evaluations.labels("failed").inc(len(failed))
        evaluations.labels("succeeded").inc((len(kinds) if alerts else kinds.count(False)) - len(failed))
        for name, error in failed:
            _log.warning("event=rule_failed group=%s rule=%s error=%s", self.key, name, error[:500])

    async def _store(self, tick_s: int, results: TickResults) -> None:
        """Store the results of a tick of the present. Raises Unavailable."""
        if not self.parts.lease.holds(self.key):
            raise Unavailable("the lease of the group is lost")
        await self.store_results(tick_s, results)

    async def store_results(self, tick_s: int, results: TickResults) -> Outcome:
        """Store the results under the tick's key; return the outcome. Raises Unavailable."""
        parts, org_id = self.parts, self.tenant.org_id
        last_tick, org_project_id = (self.name, tick_s), parts.settings.org_project_id
        cut = partial(tick_parts, self.tenant, org_project_id, results, last_tick)
        tick = await parts.place.apart(cut, org_id) if len(results.all) > _AT_ONCE else cut()
        key = key_of(self.tenant, self.group.file, self.group.name, tick_s)
        apart = partial(parts.place.apart, org_id=org_id)
        outcome = await TickStorage(parts.store, apart, parts.metrics, key, self.key).run(tick)
        parts.metrics.rule_ticks.labels(outcome).inc()
        if (count := non_finite(results)) and outcome == "stored":
            parts.metrics.rule_samples_dropped.labels("not_finite").inc(count)
        return outcome

    def _delay(self, error: QueryError) -> None:
        wait_s = min(_MAX_WAIT_S, _FIRST_WAIT_S * 2**self.tries)
        self.tries += 1
        self.retry_at_s = self.parts.now_s() + wait_s
        self.parts.metrics.rule_ticks.labels("delayed").inc()
        _log.warning("event=rule_tick_delayed group=%s wait_s=%g error=%s", self.key, wait_s, error)
