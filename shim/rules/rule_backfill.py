"""Evaluates recording rules at ticks of the past, and stores each tick under the key that it has when live.

So a tick is stored once, however often it is asked for: the first results count. Groups come in an order in
which each is after those whose results it reads.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shim.model.errors import BadData, Canceled, ExecutionError, QueryError, Unavailable
from shim.rules.group_evaluation import GroupEvaluation
from shim.rules.group_runner import GroupRunner
from shim.rules.overlay_leaves import names_read
from shim.rules.recorded_messages import TickResults
from shim.rules.rule_file import RecordingRule
from shim.rules.store_queries import StoreQueries

#: Ticks of one call, and the time after which it evaluates no further one.
_MAX_TICKS: Final = 100
_MAX_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class BackfillPart:
    """The outcome of one call. `next`: where to go on, None at the end; `done` and `total` count ticks."""

    stored: int
    known: int
    samples: int
    done: int
    total: int
    next: tuple[str, str, int] | None  # file, group, tick in seconds


@dataclass(frozen=True, slots=True)
class RuleBackfill:
    """The ticks of groups after `start_s` and up to `end_s`. `skip_failed`: leave out rules that fail.

    `new_names_s`: how long after its first sample a metric may be unknown to queries.
    """

    runners: Sequence[GroupRunner]
    start_s: int
    end_s: int
    skip_failed: bool = False
    new_names_s: float = 0.0

    async def run(self, at: tuple[str, str, int] | None) -> BackfillPart:
        """Evaluate and store some ticks from `at` on, None: from the first. Raises QueryError."""
        ordered = await asyncio.to_thread(in_order, self.runners)
        plan = [(runner, ticks) for runner in ordered if (ticks := self.ticks(runner))]
        number, tick_s = _position(plan, at)
        before = sum(len(ticks) for _, ticks in plan[:number])
        total = sum(len(ticks) for _, ticks in plan)
        if number == len(plan):
            return BackfillPart(0, 0, 0, total, total, None)
        runner, ticks = plan[number]
        left = [tick for tick in ticks if tick >= tick_s]
        before += len(ticks) - len(left)
        counts = {"stored": 0, "known": 0}
        samples = done = 0
        until_s = time.monotonic() + _MAX_S
        evaluation = await self._started(runner, left[0])
        for tick in left[:_MAX_TICKS]:
            results, outcome = await self._tick(runner, evaluation, tick)
            counts[outcome] += 1
            samples += len(results.all) if outcome == "stored" else 0
            done += 1
            if tick == ticks[0] and outcome == "stored":
                await asyncio.sleep(self.new_names_s)  # rules may read the results of earlier ticks
            if time.monotonic() > until_s:
                break
        place = _place(runner, left[done]) if done < len(left) else None
        if place is None and number + 1 < len(plan):
            place = _place(plan[number + 1][0], plan[number + 1][1][0])
        return BackfillPart(counts["stored"], counts["known"], samples, before + done, total, place)

    def ticks(self, runner: GroupRunner) -> range:
        """Return the ticks of a group: no later than the last that was evaluated, or than it was loaded.

        None has yet to come: its results would take the place of the right ones.
        """
        last_s = runner.since_s if runner.last_s is None else runner.last_s
        end_s = min(self.end_s, last_s, int(runner.parts.now_s()))
        first_s = runner.schedule.last_at(self.start_s) + runner.step_s
        return range(first_s, end_s + 1, runner.step_s)

    async def _started(self, runner: GroupRunner, tick_s: int) -> GroupEvaluation:
        """Return an evaluation that knows the series of the tick before, which end if they are gone."""
        evaluation = runner.new_evaluation()
        await self._evaluate(runner, evaluation, tick_s - runner.step_s)
        return evaluation

    async def _tick(
        self, runner: GroupRunner, evaluation: GroupEvaluation, tick_s: int
    ) -> tuple[TickResults, str]:
        results = await self._evaluate(runner, evaluation, tick_s)
        outcome = await runner.store_results(tick_s, results)
        if outcome == "refused":
            raise BadData(f"group {runner.name}, tick {tick_s}: an indexer refused its results; see the log")
        return results, outcome

    async def _evaluate(self, runner: GroupRunner, evaluation: GroupEvaluation, tick_s: int) -> TickResults:
        results = TickResults(runner.deltas)
        queries = StoreQueries.of_tick(runner.parts.place, runner.tenant, results.seen)
        failed = await evaluation.evaluate(
            tick_s * 1000, queries, results, alerts=False, passing=(Canceled, Unavailable)
        )
        if failed and not self.skip_failed:
            name, error = failed[0]
            raise ExecutionError(f"group {runner.name}, rule {name}, tick {tick_s}: {error}")
        return results


def in_order(runners: Sequence[GroupRunner]) -> list[GroupRunner]:
    """Return the groups that record, each after those whose results it reads; circles as they are."""
    left = [(runner, _recorded(runner), _read(runner)) for runner in runners if runner.records]
    recorders = Counter(name for _, recorded, _ in left for name in recorded)
    ordered = list[GroupRunner]()
    while left:
        free = [n for n, one in enumerate(left) if not _waits(*one[1:], recorders, len(left))] or [0]
        for n in free:
            ordered.append(left[n][0])
            recorders.subtract(left[n][1])
        gone = frozenset(free)
        left = [one for n, one in enumerate(left) if n not in gone]
    return ordered


def _recorded(runner: GroupRunner) -> frozenset[str]:
    return frozenset(rule.name for rule in runner.group.rules if isinstance(rule, RecordingRule))


def _read(runner: GroupRunner) -> frozenset[str | None]:
    rules = (rule for rule in runner.group.rules if isinstance(rule, RecordingRule))
    return frozenset(name for rule in rules for name in names_read(rule.expr))


def _waits(
    recorded: frozenset[str], read: frozenset[str | None], recorders: Mapping[str, int], groups: int
) -> bool:
    """Return whether another group that is left records a name that this one reads."""
    if None in read:
        return groups > 1
    return any(name is not None and recorders.get(name, 0) > (name in recorded) for name in read)


def _place(runner: GroupRunner, tick_s: int) -> tuple[str, str, int]:
    return runner.group.file, runner.group.name, tick_s


def _position(plan: Sequence[tuple[GroupRunner, range]], at: tuple[str, str, int] | None) -> tuple[int, int]:
    """Return the number of the group and the tick to go on with. Raises QueryError for an unknown group."""
    if at is None:
        return 0, plan[0][1][0] if plan else 0
    for number, (runner, ticks) in enumerate(plan):
        if (runner.group.file, runner.group.name) == at[:2]:
            later = [tick for tick in ticks if tick >= at[2]]
            if later:
                return number, later[0]
            return (number + 1, plan[number + 1][1][0]) if number + 1 < len(plan) else (len(plan), 0)
    raise _unknown(at)


def _unknown(at: tuple[str, str, int]) -> QueryError:
    return BadData(
        f"next: no group {at[1]!r} of {at[0]!r} has ticks in the range: expected one that is loaded"
    )
