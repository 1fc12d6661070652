"""The agents that were heard of: who they are, and how far they are.

Owns what this process knows of agents, from their heartbeats and frames; `indexer/completeness.py` says what
follows. Bounded: an agent too many is not taken. Thread-safe; the clock is its callers'.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

from agent.frame import Frame
from agent.heartbeat import Heartbeat
from indexer.completeness import HEARD_MS, Progress, complete_s

#: Who was not heard of for so long is forgotten.
FORGOTTEN_MS: Final = 10 * HEARD_MS


class Run(NamedTuple):
    """One run of an agent, by the identity of its frames, in one project."""

    org_id: int
    project_id: int
    agent: str
    epoch: int


class Agents:
    """`max_agents` bounds how many runs are known."""

    def __init__(self, max_agents: int) -> None:
        self._max = max_agents
        self._lock = threading.Lock()
        self._projects: dict[int, dict[int, dict[Run, Progress]]] = {}  # by org, by project
        self._count = 0
        self.taken = 0  # runs that were new, since the start
        self.not_taken = 0

    def heartbeat(self, beat: Heartbeat, now_ms: int) -> bool:
        """Notes a heartbeat; False if there is no room for one more agent."""
        run = Run(beat.org_id, beat.project_id, beat.agent, beat.epoch)
        return self._note(run, Progress(beat.flushed_until_ms, now_ms, beat.ended))

    def frame(self, frame: Frame, now_ms: int) -> None:
        """Notes who sent a frame, as soon as it comes: from now on there is an agent to wait for.

        How far it is, only its heartbeats say: they tell what is stored.
        """
        self._note(Run(frame.org_id, frame.project_id, frame.agent, frame.epoch), Progress(0, now_ms))

    def complete_s(self, org_id: int, project_id: int | None, now_ms: int, settle_ms: int) -> int:
        """The end of the last complete bucket of a project; of None: of all projects of the org."""
        with self._lock:
            projects = self._projects.get(org_id, {})
            runs = projects.values() if project_id is None else [projects.get(project_id, {})]
            return complete_s((p for one in runs for p in one.values()), now_ms, settle_ms)

    def all(self, now_ms: int) -> list[tuple[Run, Progress]]:
        """Who was heard of lately, ended or not, by name. Forgets the others."""
        with self._lock:
            self._forget(now_ms)
            return sorted(self._runs())

    def alive(self, now_ms: int) -> list[Run]:
        """Who is waited for, by name."""
        with self._lock:
            return sorted(run for run, progress in self._runs() if progress.alive(now_ms))

    def _runs(self) -> Iterator[tuple[Run, Progress]]:
        for projects in self._projects.values():
            for runs in projects.values():
                yield from runs.items()

    def _note(self, run: Run, progress: Progress) -> bool:
        with self._lock:
            runs = self._projects.get(run.org_id, {}).get(run.project_id, {})
            known = runs.get(run)
            if known is not None:
                runs[run] = progress.after(known)
                return True
            if self._count >= self._max:
                self._forget(progress.heard_ms)
            if self._count >= self._max:
                self.not_taken += 1
                return False
            self._projects.setdefault(run.org_id, {}).setdefault(run.project_id, {})[run] = progress
            self._count += 1
            self.taken += 1
            return True

    def _forget(self, now_ms: int) -> None:
        """Drops whom nothing was heard of for long; when it is full, all that are not waited for."""
        kept_ms = HEARD_MS if self._count >= self._max else FORGOTTEN_MS
        kept: dict[int, dict[int, dict[Run, Progress]]] = {}
        self._count = 0
        for run, progress in self._runs():
            if now_ms - progress.heard_ms < kept_ms:
                kept.setdefault(run.org_id, {}).setdefault(run.project_id, {})[run] = progress
                self._count += 1
        self._projects = kept
