"""An indexer that dies for good while agents hold frames for it, and the operator who releases these.

It dies shortly after agents have sent the frames of a bucket, and between two batches: frames of a batch that
it had begun would wait for its journal, since it may have stored a part of them. So its journal is looked at
after the kill; with a batch there it is started again, to die after a later bucket.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from indexer.write.batch_state import BatchState
from tests.faults.actors.processes import Actor
from tests.faults.cluster.killed_agents import KilledAgent

_BUCKET_S: Final = 10
#: Seconds of a bucket in which frames of the one before are under way: agents flush 0.5 s after its end.
_UNDER_WAY_S: Final = (1.0, 5.0)
_MAX_TRIES: Final = 12


class DeadIndexer:
    """The death of one indexer. `agents`: those whose frames an operator may release."""

    def __init__(
        self, name: str, actor: Actor, url: str, journal: Path, agents: Sequence[KilledAgent]
    ) -> None:
        self.name, self._actor, self._url, self._journal = name, actor, url, journal
        self._agents = agents
        self._tries = 0
        self._held = 0
        self._released: list[KilledAgent] = []
        self._stored = False

    @property
    def may_die(self) -> bool:
        """Whether another try is left."""
        return self._tries < _MAX_TRIES

    @staticmethod
    def wait_s(now_s: float) -> float:
        """Return how long to wait for frames under way; 0: they are."""
        first, last = _UNDER_WAY_S
        phase_s = now_s % _BUCKET_S
        return 0.0 if first <= phase_s <= last else (first - phase_s) % _BUCKET_S

    def die(self) -> bool:
        """Kill it; return whether agents hold frames for it that it has not begun to write, else start it."""
        self._tries += 1
        if not self._holding() or self._begun():
            return False
        self._actor.kill()
        if self._begun() or not (held := self._holding()):
            self._actor.launch()
            return False
        self._held = sum(held.values())
        return True

    def release(self) -> None:
        """Tell the agents that hold frames that it is gone: each restarts."""
        self._released = list(self._holding())
        for agent in self._released:
            agent.restart_without(self._url)

    def wait(self, deadline_s: float) -> None:
        """Wait until the released frames are stored, while it is still dead."""
        end = time.monotonic() + deadline_s
        while self._released and not self._stored and time.monotonic() < end:
            self._stored = not any(agent.held(self._url) for agent in self._released)
            time.sleep(0.2)

    def report(self) -> dict[str, Any]:
        """Return the course of events; `stored`: without this indexer."""
        return {
            "name": self.name,
            "tries": self._tries,
            "held_frames": self._held,
            "agents": len(self._released),
            "stored": self._stored,
        }

    def _holding(self) -> dict[KilledAgent, int]:
        held = {agent: agent.held(self._url) for agent in self._agents}
        return {agent: frames for agent, frames in held.items() if frames}

    def _begun(self) -> bool:
        with closing(sqlite3.connect(self._journal)) as db:
            return bool(db.execute("SELECT 1 FROM batch WHERE state = ?", (BatchState.OPEN,)).fetchone())
