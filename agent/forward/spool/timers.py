"""Timers that write frames and open buckets to the spool's disk even without a failure.

Owns two timers of the agent's loop: frames unsent for KEEP_S are written, and every
`agent.spool.checkpoint_ms` the open buckets are flushed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agent.forward.spool.spool import Spool
from agent.runtime.logs import Log
from agent.runtime.loop import Loop

#: Interval between checks for frames unsent for longer than KEEP_S.
_KEEP_EVERY_S: Final = 0.5
KEEP_S: Final = 1.0


class SpoolTimers:
    """Runs after `start`. `checkpoint` flushes open buckets; False: the last ones are not on disk yet."""

    def __init__(
        self, loop: Loop, spool: Spool, log: Log, checkpoint_ms: int, checkpoint: Callable[[], bool]
    ) -> None:
        #: Number of checkpoints so far.
        self.checkpoints = 0
        self._loop = loop
        self._spool = spool
        self._log = log
        self._checkpoint_s = checkpoint_ms / 1000
        self._flush = checkpoint

    @property
    def problem(self) -> str:
        """Why the spool cannot be written, in plain words; empty if it can."""
        backlog = self._spool.backlog
        if backlog is None or not backlog.problem:
            return ""
        return f"the spool {backlog.path} cannot be written: {backlog.problem}; frames are kept in memory"

    def start(self) -> None:
        """Start the timers, if there is a disk."""
        if self._spool.on_disk:
            self._keep()
        if self._checkpoint_s:
            self._loop.call_later(self._checkpoint_s, self._checkpoint)

    def _keep(self) -> None:
        self._spool.keep_old(KEEP_S)
        if problem := self.problem:
            self._log.throttled("spool_not_written", error=problem)
        self._loop.call_later(_KEEP_EVERY_S, self._keep)

    def _checkpoint(self) -> None:
        self.checkpoints += self._flush()
        self._loop.call_later(self._checkpoint_s, self._checkpoint)
