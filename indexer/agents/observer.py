"""Passes news of agents on: to this process, and to the table for all others.

Owns the clock of these news. Runs in the indexer's event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from agent.wire.frame import BACKFILL_PREFIX, Frame
from agent.wire.heartbeat import Heartbeat
from indexer.agents.completeness import Progress
from indexer.agents.gaps import SequenceGaps
from indexer.agents.heartbeats import HeartbeatWriter
from indexer.agents.registry import AgentRegistry, AgentRun
from indexer.agents.up import UpWriter

#: Ranges of missing frames shown per run.
_SHOWN_RANGES: Final = 10


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class AgentObserver:
    """Notes heartbeats and frames. `writer`: None on an embedded store, `up`: None if it is off.

    `sees_all`: every frame comes to this process. Else missing frames are not judged: others may have them.
    """

    def __init__(
        self,
        agents: AgentRegistry,
        writer: HeartbeatWriter | None,
        up: UpWriter | None,
        *,
        sees_all: bool = False,
        now_ms: Callable[[], int] = _now_ms,
    ) -> None:
        self._agents = agents
        self._writer = writer
        self._up = up
        self._sees_all = sees_all
        self._now_ms = now_ms

    def heartbeat(self, beat: Heartbeat) -> bool:
        """Take a heartbeat. Return False if the registry is full."""
        now_ms = self._now_ms()
        before = self._agents.taken
        if not self._agents.heartbeat(beat, now_ms):
            return False
        if self._up is not None and self._agents.taken > before:
            self._up.wake()
        if self._writer is not None:
            run = AgentRun(beat.org_id, beat.project_id, beat.agent, beat.epoch)
            self._writer.put(run, Progress(beat.flushed_until_ms, now_ms, beat.ended).seen_at(now_ms))
        return True

    def frame(self, frame: Frame) -> None:
        """Note the sender of a frame; the only sign of agents that send no heartbeats.

        A backfill is not an agent to wait for: all its rows are late by `|T`.
        """
        if frame.agent.startswith(BACKFILL_PREFIX):
            return
        now_ms = self._now_ms()
        self._agents.frame(frame, now_ms)
        if self._writer is not None and not frame.flushed_until_ms:
            run = AgentRun(frame.org_id, frame.project_id, frame.agent, frame.epoch)
            self._writer.put(run, Progress(0, now_ms))

    def stored(self, frame: Frame) -> None:
        """Note that a frame is stored."""
        if self._sees_all:
            self._agents.stored(frame)

    def now_ms(self) -> int:
        """Return Unix milliseconds, the clock that agents are compared with."""
        return self._now_ms()

    def rows(self, frame: Frame) -> None:
        """Note stored rows, of a frame or of messages."""
        if self._up is not None:
            self._up.own.saw(frame)

    def listing(self, shows: Callable[[int, int], bool]) -> list[dict[str, Any]]:
        """Return the visible agents of orgs and projects as JSON: identity, progress and problems."""
        now_ms = self._now_ms()
        return [
            {
                **run._asdict(),
                "heard_s_ago": (now_ms - known.progress.heard_ms) / 1000,
                "flushed_until_s": known.progress.flushed_until_ms / 1000,
                "ended": known.progress.ended,
                "clock_ahead_s": None if known.ahead_ms is None else known.ahead_ms / 1000,
                **self._missing(known.numbers),
                "lines": known.lines,
                "refused_lines": known.refused_lines,
                "unsent_bytes": known.unsent_bytes,
                "version": known.version,
            }
            for run, known in self._agents.all(now_ms)
            if shows(run.org_id, run.project_id)
        ]

    def _missing(self, numbers: SequenceGaps) -> dict[str, Any]:
        if not self._sees_all or not numbers.judged:
            return {"missing_frames": None}
        shown = numbers.ranges()[:_SHOWN_RANGES]
        return {"missing_frames": numbers.missing, **({"missing": shown} if shown else {})}
