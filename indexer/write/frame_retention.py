"""Decides the retention of a frame's rows once, before the writer.

If the journal keeps the decision, it follows the present settings. If several indexers write, it follows the
database's history for the time when the frame was created (indexer/clickhouse/schema/eras.py).
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.eras import NOTICE_MS, read_eras
from indexer.clickhouse.store import Store, StoreError
from indexer.settings import Settings
from indexer.write.errors import Unavailable
from indexer.write.split_by_day import RetentionRules

#: Maximum age of the eras read last; far below the notice of a change.
_FRESH_S: Final = NOTICE_MS / 1000 / 4


@dataclass(frozen=True, slots=True)
class RetentionDecision:
    """The decision for a frame: `kept` goes with the frame, `rules` round and expire."""

    kept: Retention | None
    rules: RetentionRules


class RetentionPolicy(Protocol):
    """Decides the retention of frames."""

    async def at(self, created_ms: int) -> RetentionDecision:
        """Return the decision for a frame created then. Raises Unavailable."""


class ConfiguredRetention:
    """Decides by the present settings, for every frame."""

    def __init__(self, retention: Retention, steps: Sequence[int]) -> None:
        self._decision = RetentionDecision(retention, RetentionRules(retention, steps))

    async def at(self, created_ms: int) -> RetentionDecision:  # noqa: ARG002  # the journal remembers
        """Return the decision of the settings, for any time."""
        return self._decision


class RecordedRetention:
    """Decides by the database's history for the time when a frame was created.

    `legacy`: frames created before the first era go to the input tables of before migration 5.
    """

    def __init__(
        self,
        store: Store,
        retention: Retention,
        steps: Sequence[int],
        *,
        legacy: bool,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._first = RetentionDecision(None if legacy else retention, RetentionRules(retention, steps))
        self._clock_s = clock_s
        self._lock = asyncio.Lock()
        self._read_s = float("-inf")
        self._since_ms: list[int] = []
        self._decisions: list[RetentionDecision] = []

    async def at(self, created_ms: int) -> RetentionDecision:
        """Return the decision that was valid at that moment. Raises Unavailable."""
        if self._clock_s() - self._read_s > _FRESH_S:
            async with self._lock:
                if self._clock_s() - self._read_s > _FRESH_S:
                    await self._read()
        place = bisect_right(self._since_ms, created_ms)
        return self._decisions[place - 1] if place else self._first

    async def _read(self) -> None:
        asked_s = self._clock_s()
        try:
            eras = await asyncio.to_thread(read_eras, self._store)
        except StoreError as e:
            raise Unavailable(
                "the store does not say which retention holds", retry_after_s=2, begun=False
            ) from e
        self._since_ms = [era.since_ms for era in eras]
        self._decisions = [RetentionDecision(e.retention, RetentionRules(e.retention, e.steps)) for e in eras]
        self._read_s = asked_s


def open_retention(settings: Settings, recorded: Store | None, *, legacy: bool) -> RetentionPolicy:
    """Return the policy of the settings; `recorded`: the store whose history decides, None with a journal."""
    steps = settings.limits.retention_steps
    if recorded is None:
        return ConfiguredRetention(settings.retention, steps)
    return RecordedRetention(recorded, settings.retention, steps, legacy=legacy)
