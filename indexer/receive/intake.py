"""Prepares checked frames for the writer: rounds retention, drops expired rows, splits by days.

The remaining rows depend on time and settings, so they are decided here, once. The journal keeps the decision
with the frame, and a batch that is written again is the same.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import msgspec

from indexer.metrics import Metrics
from indexer.receive.org_rates import OrgRates
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import Limited, Unavailable, WriteError
from indexer.write.frame_retention import RetentionPolicy
from indexer.write.known_frames import KnownFrames
from indexer.write.split_by_day import day_groups, expired_rows, of_group, without_expired
from indexer.write.writer import Writer

#: A request whose frames are split into more parts takes its org's turn.
_FEW_PARTS: Final = 4
#: Orgs whose requests of many days are written at once.
_MAX_TURNS: Final = 4


class Intake:
    """Writes the frames of requests. For one event loop. `now_ms` is the wall clock."""

    def __init__(
        self,
        writer: Writer,
        retentions: RetentionPolicy,
        memory: KnownFrames,
        metrics: Metrics,
        rates: OrgRates,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._writer = writer
        self._retentions = retentions
        self._memory = memory
        self._rates = rates
        self._metrics = metrics
        self._now_ms = now_ms
        self._turns: set[int] = set()

    async def write(self, units: Sequence[AcceptedFrame]) -> int:
        """Write frames concurrently; return the number of expired rows left out.

        Raises the first WriteError after each frame was tried; Limited before any is.
        """
        self._check_rates(units)
        kept: list[AcceptedFrame] = []
        expired = 0
        for unit in units:
            rest, dropped = await self._decided(unit)
            kept.append(rest)
            expired += dropped
        groups = [day_groups(unit.frame) for unit in kept]
        if sum(max(0, len(of_unit) - 1) for of_unit in groups) < _FEW_PARTS:
            await self._write_all(kept, groups)
        else:
            with self._turn(kept[0].frame.org_id):
                await self._write_all(kept, groups)
        self._metrics.dropped_rows.labels(reason="expired").inc(expired)
        return expired

    def _check_rates(self, units: Sequence[AcceptedFrame]) -> None:
        """Charge the rows to their orgs. Raises Limited if one of them is past a rate."""
        rows: Counter[int] = Counter()
        for unit in units:
            rows[unit.frame.org_id] += unit.frame.rows
        for org_id in rows:
            exceeded = self._rates.exceeded(org_id)
            if exceeded is not None:
                what, wait_s = exceeded
                self._metrics.limited(what, org_id, rows.total())
                raise Limited(f"too many {what} a second: indexer.limits.{what}_per_s", wait_s)
        for org_id, count in rows.items():
            self._rates.charge("rows", org_id, count)

    async def _write_all(self, units: Sequence[AcceptedFrame], groups: Sequence[Sequence[int]]) -> None:
        if len(units) == 1:  # most requests: without a task a quarter less CPU
            await self._write(units[0], groups[0])
            return
        writes = (self._write(unit, of_unit) for unit, of_unit in zip(units, groups, strict=True))
        results = await asyncio.gather(*writes, return_exceptions=True)
        failures = [r for r in results if isinstance(r, BaseException)]
        failures.sort(key=lambda e: isinstance(e, WriteError))  # a mistake of ours comes first
        if failures:
            raise failures[0]

    async def _write(self, unit: AcceptedFrame, groups: Sequence[int]) -> None:
        """Write one frame, its groups of days in turn: other frames are written in between."""
        if len(groups) < 2:
            await self._write_part(unit)
        elif not (await self._writer.knows(unit) or await self._remembers(unit)):
            for group in groups:
                part = await asyncio.to_thread(of_group, unit, group, last=group == groups[-1])
                try:
                    await self._write_part(part)
                except (Unavailable, Limited) as e:
                    if group == groups[0]:
                        raise
                    raise type(e)(str(e), e.retry_after_s, begun=True) from e  # earlier parts are stored

    async def _write_part(self, unit: AcceptedFrame) -> None:
        if not await self._remembers(unit):
            await self._writer.write(unit)

    async def _remembers(self, unit: AcceptedFrame) -> bool:
        """Return whether ClickHouse has the frame although the journal does not know it."""
        found = await self._memory.has(unit)
        if found:
            self._metrics.frames.labels(outcome="repeated").inc()
        return found

    async def _decided(self, unit: AcceptedFrame) -> tuple[AcceptedFrame, int]:
        """Return the frame with the retention of its rows, and the number of rows left out."""
        decision = await self._retentions.at(unit.frame.created_ms)
        days = decision.rules.rounded(unit.frame.retention_days)
        frame = unit.frame
        if days != frame.retention_days:
            frame = msgspec.structs.replace(frame, retention_days=days)
        unit = replace(unit, frame=frame, kept=decision.kept)
        first_day = decision.rules.first_day(days, frame.created_ms, self._now_ms())
        expired = expired_rows(frame, first_day)
        return (await asyncio.to_thread(without_expired, unit, first_day), expired) if expired else (unit, 0)

    @contextmanager
    def _turn(self, org_id: int) -> Iterator[None]:
        """Hold an org's turn for rows of many days. Raises Unavailable while another request holds it."""
        if org_id in self._turns or len(self._turns) >= _MAX_TURNS:
            self._metrics.refused.labels(reason="many_days").inc()
            raise Unavailable("rows of many days are being written", retry_after_s=5, begun=False)
        self._turns.add(org_id)
        try:
            yield
        finally:
            self._turns.discard(org_id)
