"""Keeps the agents that were heard of: identity, progress, missing frames and clocks.

Owns this process's knowledge of agents, from heartbeats and frames; `indexer/agents/completeness.py` draws
the conclusions. Bounded: an agent beyond the bound is refused. Thread-safe; callers pass the time.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agent.wire.frame import Frame
from agent.wire.heartbeat import Heartbeat
from indexer.agents.completeness import HEARD_MS, SKEW_MS, Progress, complete_s
from indexer.agents.gaps import SequenceGaps

log = logging.getLogger(__name__)

#: An agent that was silent for this long is forgotten.
FORGOTTEN_MS: Final = 10 * HEARD_MS
#: Orgs whose missing frames are still counted after their agents are forgotten.
_MAX_ORGS: Final = 10_000


class AgentRun(NamedTuple):
    """One run of an agent in one project, by the identity of its frames."""

    org_id: int
    project_id: int
    agent: str
    epoch: int


@dataclass(slots=True)
class KnownAgent:
    """The state of one run: its progress, its frame numbers and its clock."""

    progress: Progress
    numbers: SequenceGaps = field(default_factory=SequenceGaps)
    #: Milliseconds that its clock is ahead of ours; None if it does not report its clock.
    ahead_ms: int | None = None
    skewed: bool = False  # the log says so
    #: Its lines since its start, the refused ones by reason, and its unsent bytes, if it tells them.
    lines: int | None = None
    refused_lines: dict[str, int] = field(default_factory=dict)
    unsent_bytes: int = 0
    #: The program's version; empty if it does not tell it.
    version: str = ""

    def note_clock(self, run: AgentRun, ahead_ms: int) -> None:
        """Note how far the run's clock is ahead of ours; log a large difference once."""
        self.ahead_ms = ahead_ms
        much = abs(ahead_ms) > SKEW_MS
        if much and not self.skewed:
            log.warning(
                "event=agent_clock org_id=%d project_id=%d agent=%s ahead_s=%.1f",
                *(run.org_id, run.project_id, run.agent[:200], ahead_ms / 1000),
            )
        self.skewed = much


class AgentRegistry:
    """The known runs, at most `max_agents`."""

    def __init__(self, max_agents: int) -> None:
        self._max = max_agents
        self._lock = threading.Lock()
        self._projects: dict[int, dict[int, dict[AgentRun, KnownAgent]]] = {}  # by org, by project
        self._count = 0
        self._missing: Counter[int] = Counter()  # frames of runs that are not known any more, by org
        self.taken = 0  # runs that were new, since the start
        self.not_taken = 0

    def heartbeat(self, beat: Heartbeat, now_ms: int) -> bool:
        """Note a heartbeat. Return False if the registry is full."""
        run = AgentRun(beat.org_id, beat.project_id, beat.agent, beat.epoch)
        # No bucket ends before its end: a time far ahead is that of a clock that is, or was, ahead.
        progress = Progress(beat.flushed_until_ms, now_ms, beat.ended).seen_at(now_ms)
        with self._lock:
            known = self._note(run, progress)
            if known is None:
                return False
            if beat.frames_over is not None:
                known.numbers.told(beat.frames_made, beat.frames_over)
            known.lines, known.refused_lines = beat.lines, beat.refused_lines
            known.unsent_bytes, known.version = beat.unsent_bytes, beat.version
            if beat.sent_ms:
                known.note_clock(run, beat.sent_ms - now_ms)
        return True

    def frame(self, frame: Frame, now_ms: int) -> None:
        """Note the sender of a frame at its arrival: from now on its agent is waited for.

        Only heartbeats report its progress: they say which rows are stored.
        """
        with self._lock:
            self._note(run_of(frame), Progress(0, now_ms))

    def stored(self, frame: Frame) -> None:
        """Note the number of a stored frame, if its agent is known."""
        run = run_of(frame)
        with self._lock:
            known = self._projects.get(run.org_id, {}).get(run.project_id, {}).get(run)
            if known is not None:
                known.numbers.stored(frame.sequence)

    def complete_s(self, org_id: int, project_id: int | None, now_ms: int, settle_ms: int) -> int:
        """Return the end of the last complete bucket of a project; None: of all projects of the org."""
        with self._lock:
            projects = self._projects.get(org_id, {})
            runs = projects.values() if project_id is None else [projects.get(project_id, {})]
            return complete_s((k.progress for one in runs for k in one.values()), now_ms, settle_ms)

    def all(self, now_ms: int) -> list[tuple[AgentRun, KnownAgent]]:
        """Return the agents heard of lately, ended or not, by name. Forgets the others."""
        with self._lock:
            self._forget(now_ms)
            return sorted(self._runs(), key=lambda one: one[0])

    def alive(self, now_ms: int) -> list[AgentRun]:
        """Return the agents that are waited for, by name."""
        with self._lock:
            return sorted(run for run, known in self._runs() if known.progress.alive(now_ms))

    def missing_frames(self) -> dict[int, int]:
        """Return the number of frames that never came since the start, by org."""
        with self._lock:
            out = Counter(self._missing)
            for run, known in self._runs():
                out[run.org_id] += known.numbers.missing
            return dict(out)

    def _runs(self) -> Iterator[tuple[AgentRun, KnownAgent]]:
        for projects in self._projects.values():
            for runs in projects.values():
                yield from runs.items()

    def _note(self, run: AgentRun, progress: Progress) -> KnownAgent | None:
        """Return a run with its progress noted; None if the registry is full."""
        known = self._projects.get(run.org_id, {}).get(run.project_id, {}).get(run)
        if known is not None:
            known.progress = progress.after(known.progress.seen_at(progress.heard_ms))
            return known
        if self._count >= self._max:
            self._forget(progress.heard_ms)
        if self._count >= self._max:
            self.not_taken += 1
            return None
        known = KnownAgent(progress)
        self._projects.setdefault(run.org_id, {}).setdefault(run.project_id, {})[run] = known
        self._count += 1
        self.taken += 1
        return known

    def _forget(self, now_ms: int) -> None:
        """Forget agents that were silent for long; if the registry is full, all that are not waited for."""
        kept_ms = HEARD_MS if self._count >= self._max else FORGOTTEN_MS
        kept: dict[int, dict[int, dict[AgentRun, KnownAgent]]] = {}
        self._count = 0
        for run, known in self._runs():
            if abs(now_ms - known.progress.heard_ms) < kept_ms:
                kept.setdefault(run.org_id, {}).setdefault(run.project_id, {})[run] = known
                self._count += 1
            elif known.numbers.missing and (len(self._missing) < _MAX_ORGS or run.org_id in self._missing):
                self._missing[run.org_id] += known.numbers.missing
        self._projects = kept


def run_of(frame: Frame) -> AgentRun:
    """Return the run that a frame belongs to."""
    return AgentRun(frame.org_id, frame.project_id, frame.agent, frame.epoch)
