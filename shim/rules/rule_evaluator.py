"""Evaluates the rules of all tenants: loads their files, holds leases, and runs groups at their ticks.

A group runs in a task of its own and has one query at once, so a slow group delays itself alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from shim.engine.live_edge import LiveEdge
from shim.model.tenancy import Tenant
from shim.notify.server_notices import ServerNotices
from shim.rules.group_runner import GroupRunner
from shim.rules.rule_directory import LoadedFile, RuleDirectory
from shim.rules.rule_file import AlertingRule, Rule
from shim.rules.tenant_group import RunnerParts

_log: Final = logging.getLogger("shim.rules")

#: Seconds between two looks for groups that are due, and between two renewals of leases.
_EVERY_S: Final = 0.25
_LEASES_EVERY_S: Final = 1.0
#: Groups that are handed over to another shim at one renewal: it reads their states.
_HANDED_OVER: Final = 100

_Key = tuple[Tenant, str, str]  # tenant, file, group


@dataclass(slots=True)
class RuleEvaluator:
    """Runs in one event loop; `pool` runs calls that block."""

    directory: RuleDirectory
    edge: LiveEdge
    parts: RunnerParts
    pool: Executor | None = None
    notices: ServerNotices = field(default_factory=ServerNotices)
    runners: dict[_Key, GroupRunner] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    _running: dict[_Key, asyncio.Task[None]] = field(default_factory=dict)
    _reloading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _loaded_s: float = float("-inf")  # time.monotonic()
    _leased_s: float = float("-inf")

    async def run(self) -> None:
        """Evaluate until cancelled."""
        try:
            while True:
                try:
                    await self.round()
                except Exception:
                    _log.exception("event=rules_failed")
                await asyncio.sleep(_EVERY_S)
        finally:
            await self.close()

    async def close(self) -> None:
        """End all groups and give up their leases."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.parts.lease.release([runner.key for runner in self.runners.values()])

    async def round(self) -> None:
        """Load changed files, renew leases, and begin the groups that are due."""
        now_s = time.monotonic()
        if now_s - self._loaded_s >= self.parts.settings.reload_s:
            await self.reload()
        if not self.parts.settings.evaluate:
            return
        if now_s - self._leased_s >= _LEASES_EVERY_S:
            await self._lease()
            self._leased_s = now_s
        await self._begin()
        self._measure()

    async def settle(self) -> None:
        """Wait until no group runs; for tests and stops."""
        while self._running:
            await asyncio.wait(list(self._running.values()))
            await asyncio.sleep(0)

    async def reload(self) -> None:
        """Read the files that changed, and replace their groups."""
        async with self._reloading:  # a client may ask for it at any time
            await self._reload()

    async def _reload(self) -> None:
        self._loaded_s = time.monotonic()
        changed = await asyncio.get_running_loop().run_in_executor(self.pool, self.directory.load)
        if not changed:
            return
        files = self.directory.files
        bad = [one for one in files.values() if one.error]
        self.parts.metrics.rule_files_bad.set(len(bad) + bool(self.directory.error))
        self.parts.metrics.rule_files_over_limit.set(sum(one.over_limit for one in bad))
        errors = [e for e in [self.directory.error, *(f"{f.tenant} {f.error}" for f in bad)] if e]
        for error in errors:
            _log.error("event=rule_file_not_used error=%s", error)
        self.notices.replace("rule files", [f"Rule file not used: {error}" for error in errors])
        await self._replace(files)

    async def _replace(self, files: Mapping[Path, LoadedFile]) -> None:
        since_s = int(self.parts.now_s())
        before, self.runners = self.runners, {}
        unique = _unique_rules(files.values())
        for one in files.values():
            for group in one.groups:
                key = (one.tenant, one.name, group.name)
                older = before.pop(key, None)
                keys = [_rule_key(one.tenant, rule) for rule in group.rules]
                numbers = frozenset(n for n, of in enumerate(keys) if of in unique)
                if older is not None and older.group == group:
                    older.unique = numbers
                    self.runners[key] = older
                    continue
                await self._stop(key)
                runner = GroupRunner(one.tenant, group, self.parts, since_s, numbers)
                if older is not None:
                    runner.adopt(older)
                self.runners[key] = runner
        for key, runner in before.items():
            await self._stop(key)
            task = asyncio.create_task(runner.end(), name=f"rules end {runner.key}")
            self._running[key] = task  # an indexer that hangs holds up no other group
            task.add_done_callback(partial(self._ended, key))
        self.parts.metrics.rule_groups.set(len(self.runners))
        self.parts.metrics.rules.set(sum(len(r.group.rules) for r in self.runners.values()))

    async def _stop(self, key: _Key) -> None:
        """End a group that runs: its tick is evaluated again."""
        if (task := self._running.get(key)) is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _lease(self) -> None:
        """Take or renew the leases of all groups; forget the state of those that are another's.

        Some groups that another shim asks for are handed over, those that do not run.
        """
        lease = self.parts.lease
        held = await lease.hold([runner.key for runner in self.runners.values()], balanced=True)
        if wanted := lease.wanted() & held:
            idle = [r.key for key, r in self.runners.items() if r.key in wanted and key not in self._running]
            await lease.hand_over(idle[:_HANDED_OVER])
            held = held.difference(idle[:_HANDED_OVER])
        self.held = held
        for key, runner in self.runners.items():
            if runner.key not in self.held and key not in self._running:
                runner.forget()

    async def _begin(self) -> None:
        now_s = self.parts.now_s()
        for key, runner in self.runners.items():
            if key not in self._running:
                runner.follow_clock()
        ready = [
            (key, runner)
            for key, runner in self.runners.items()
            if key not in self._running
            and runner.retry_at_s <= now_s
            and self.parts.lease.holds(runner.key)
            and (not runner.restored or runner.next_s <= now_s)
        ]
        if not ready:
            return
        tenants = {runner.tenant for _, runner in ready}
        complete = await asyncio.get_running_loop().run_in_executor(self.pool, self._complete_s, tenants)
        for key, runner in ready:
            complete_s = complete[runner.tenant]
            if not runner.restored or runner.due(complete_s).ticks:
                task = asyncio.create_task(runner.run(complete_s), name=f"rules {runner.key}")
                self._running[key] = task
                task.add_done_callback(partial(self._ended, key))

    def _ended(self, key: _Key, task: asyncio.Task[None]) -> None:
        self._running.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("event=rule_group_failed group=%s", key, exc_info=error)
            if (runner := self.runners.get(key)) is not None:
                runner.retry_at_s = self.parts.now_s() + runner.step_s

    def _complete_s(self, tenants: Iterable[Tenant]) -> dict[Tenant, int]:
        now_s = self.parts.now_s()
        found = {one: self.edge.complete_s(one, int(now_s * 1000), now_s) for one in tenants}
        return {one: int(now_s) if end_s is None else end_s for one, end_s in found.items()}

    def _measure(self) -> None:
        stored = [r.stored_at_s for r in self.runners.values() if r.key in self.held and r.stored_at_s]
        self.parts.metrics.rules_last_success.set(min(stored, default=0.0))


def _rule_key(tenant: Tenant, rule: Rule) -> tuple[Tenant, bool, str, tuple[tuple[str, str], ...]]:
    return tenant, isinstance(rule, AlertingRule), rule.name, tuple(sorted(rule.labels.items()))


def _unique_rules(files: Iterable[LoadedFile]) -> set[object]:
    """Return the keys of rules of which there is one, so that stored series tell whose they are."""
    counts = Counter(_rule_key(f.tenant, rule) for f in files for g in f.groups for rule in g.rules)
    return {key for key, count in counts.items() if count == 1}
