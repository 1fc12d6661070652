"""An indexer that dies for good while agents hold frames for it, and the operator who releases these.

It hangs before the end of a bucket, so that agents send it frames that it does not answer, and dies then.
It hangs between two batches: frames of a batch that it had begun would wait for its journal, since it may
have stored a part of them. With a batch there it goes on, to hang in a later bucket.
"""

from __future__ import annotations

import signal
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
#: Seconds of a bucket in which it begins to hang, and of the next one after which it is killed: agents flush
#: 0.5 s after a bucket's end.
_HANGS_S: Final = (6.0, 9.0)
_DIES_S: Final = 3.0
#: How long agents may take to notice its death.
_HELD_S: Final = 2.0
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
        self._hangs = False
        self._released: list[KilledAgent] = []
        self._stored = False
        self._late: list[str] = []

    @property
    def dead(self) -> bool:
        """Whether it is dead, and agents hold frames for it."""
        return self._held > 0

    def step(self, now_s: float) -> float | None:
        """Take the next step to its death; return the seconds until the one after it, None for none."""
        first, last = _HANGS_S
        phase_s = now_s % _BUCKET_S
        if self._hangs:
            return self._die()
        if not first <= phase_s <= last:
            return (first - phase_s) % _BUCKET_S
        self._tries += 1
        self._actor.signal(signal.SIGSTOP)
        if not self._begun():
            self._hangs = True
            return _BUCKET_S - phase_s + _DIES_S
        self._actor.signal(signal.SIGCONT)
        return 1.0 if self._tries < _MAX_TRIES else None

    def _die(self) -> float | None:
        """Kill it; start it again if no agent holds a frame for it."""
        self._hangs = False
        self._actor.kill()
        end = time.monotonic() + _HELD_S
        while not self.dead and time.monotonic() < end:  # their connections break
            self._held = sum(self._holding().values())
        if self.dead:
            return None
        self._actor.launch()
        return 1.0 if self._tries < _MAX_TRIES else None

    def release(self) -> None:
        """Tell the agents that hold frames that it is gone: each restarts."""
        self._released = list(self._holding())
        for agent in self._released:
            agent.restart_without(self._url)

    def resume(self) -> None:
        """Let it go on if it hangs."""
        if self._hangs:
            self._hangs = False
            self._actor.signal(signal.SIGCONT)

    def wait(self, deadline_s: float) -> None:
        """Wait until all frames of the agents that were told are acknowledged, while it is still dead."""
        if self.dead and not self._released:  # the run ended before the operator came
            self.release()
        end = time.monotonic() + deadline_s
        told = [agent for agent in self._released if not agent.actor.ended()]
        self._late = [
            agent.name for agent in told if not agent.promise(end - time.monotonic(), acknowledged=True)
        ]
        self._stored = bool(told) and not self._late

    def report(self) -> dict[str, Any]:
        """Return the course of events; `stored`: without this indexer."""
        return {
            "name": self.name,
            "tries": self._tries,
            "held_frames": self._held,
            "agents": len(self._released),
            "stored": self._stored,
            "late": self._late,
        }

    def _holding(self) -> dict[KilledAgent, int]:
        held = {agent: agent.held(self._url) for agent in self._agents}
        return {agent: frames for agent, frames in held.items() if frames}

    def _begun(self) -> bool:
        with closing(sqlite3.connect(self._journal)) as db:
            return bool(db.execute("SELECT 1 FROM batch WHERE state = ?", (BatchState.OPEN,)).fetchone())
