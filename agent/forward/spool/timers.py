"""When frames and open buckets go to the spool's disk without anything having failed.

Owns two timers of the agent's loop: frames that are unsent for KEEP_S are written, and every
`agent.spool.checkpoint_ms` the open buckets are flushed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agent.forward.spool.spool import Spool
from agent.runtime.logs import Log
from agent.runtime.loop import Loop

#: So often frames are looked for that are unsent for longer than KEEP_S.
_KEEP_EVERY_S: Final = 0.5
KEEP_S: Final = 1.0


class SpoolTimers:
    """Runs from `start` on. `checkpoint` flushes open buckets; False: the last ones are not on disk yet."""

    def __init__(
        self, loop: Loop, spool: Spool, log: Log, checkpoint_ms: int, checkpoint: Callable[[], bool]
    ) -> None:
        #: Checkpoints so far.
        self.checkpoints = 0
        self._loop = loop
        self._spool = spool
        self._log = log
        self._checkpoint_s = checkpoint_ms / 1000
        self._flush = checkpoint

    @property
    def problem(self) -> str:
        """Why the spool cannot be written, in words; empty if it can."""
        backlog = self._spool.backlog
        if backlog is None or not backlog.problem:
            return ""
        return f"the spool {backlog.path} cannot be written: {backlog.problem}; frames are kept in memory"

    def start(self) -> None:
        """Begin, where there is a disk."""
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
