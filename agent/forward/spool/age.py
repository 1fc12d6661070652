"""How old an unsent frame may be: by the setting, and by the indexer's memory.

An indexer that has forgotten a frame would count it again, so it refuses older ones. Where it remembers for
less than `agent.spool.max_age_s`, the agent says so and does not send older frames.

Thread-safe: heartbeats have a thread of their own.
"""

from __future__ import annotations

from agent.forward.spool.spool import Spool
from agent.runtime.logs import Log


class SpoolAge:
    """Holds the spool to the indexer's memory. `max_age_s`: the setting."""

    def __init__(self, spool: Spool, max_age_s: float, log: Log) -> None:
        self._spool = spool
        self._max_age_s = max_age_s
        self._log = log
        self._remembers_s = 0
        #: Words about the settings for /readyz; empty if these fit.
        self.warning = ""

    def remembers(self, seconds: int) -> None:
        """Take an indexer's answer; 0: it does not say, and nothing changes."""
        if seconds in (0, self._remembers_s):
            return
        self._remembers_s = seconds
        self._spool.remembered_for(seconds)
        self.warning = ""
        if self._spool.on_disk and seconds < self._max_age_s:
            self.warning = (
                f"agent.spool.max_age_s = {self._max_age_s:.15g}: expected at most {seconds}, for which the"
                " indexer remembers frames (indexer.journal.identity_days);"
                " older frames are set aside, not sent"
            )
            self._log.warning("spool_age", max_age_s=self._max_age_s, indexer_remembers_s=seconds)
