"""Ends statements by a tag in their text: on the node that is asked, and on the others of a cluster.

Every user may end statements of its own on the node that it asks, if it may read `system.processes`. ON
CLUSTER needs the rights CLUSTER and KILL QUERY, and is refused to users with `readonly`, whatever their
rights (ClickHouse issue 38891). A refusal is said once. It holds for some minutes: an operator may grant the
right meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store_errors import StoreError

_log: Final = logging.getLogger(__name__)

#: Codes of statements that a user may not run: READONLY, QUERY_IS_PROHIBITED (allow_distributed_ddl),
#: ACCESS_DENIED.
_REFUSED: Final = frozenset({164, 392, 497})
#: Seconds after which a statement that was refused is tried again.
_ASK_AGAIN_S: Final = 300.0


def _nothing() -> None:
    """Count nothing."""


class KillQuery:
    """The statements KILL QUERY of one store. `clock_s` never steps.

    `failed` is called for each tag whose statements may run on: they end at their own deadline.
    """

    def __init__(self, cluster: str | None, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._clock_s = clock_s
        self._refused_until_s: dict[str, float] = {}
        self.failed: Callable[[], None] = _nothing

    def end(self, tag: str, here: Callable[[str], bool], everywhere: Callable[[str], None]) -> None:
        """End the statements with `tag`, letters and digits, without waiting. Raises StoreError.

        `here` runs a statement and returns whether it found something to end; `everywhere` runs one on all
        nodes.
        """
        if not tag.isalnum():
            raise ValueError("a tag is letters and digits")
        which = (
            f"WHERE query LIKE '%{tag}%' AND query NOT LIKE 'KILL%' AND query NOT LIKE '%system.processes%'"
        )
        try:
            if self._may("here", lambda: here(f"KILL QUERY {which} ASYNC")) or self._cluster is None:
                return
            where = f"ON CLUSTER {quote_name(self._cluster)}"
            self._may("cluster", lambda: everywhere(f"KILL QUERY {where} {which} ASYNC"))
        except StoreError:
            self.failed()
            raise

    def _may(self, where: str, run: Callable[[], bool | None]) -> bool:
        """Run a statement that the user may run; return whether it found something. Raises StoreError."""
        until_s = self._refused_until_s.get(where)
        if until_s is not None and self._clock_s() < until_s:
            self.failed()
            return False
        try:
            found = bool(run())
        except StoreError as e:
            if e.code not in _REFUSED:
                raise
            self._refused_until_s[where] = self._clock_s() + _ASK_AGAIN_S
            self.failed()
            if until_s is not None:
                return False
            _log.warning(
                "event=kill_refused where=%s code=%d text=cancelled statements end at their deadline"
                " hint=meterhouse doctor --shim-dsn",
                where,
                e.code,
            )
            return False
        if self._refused_until_s.pop(where, None) is not None:
            _log.warning("event=kill_allowed where=%s text=cancelled statements end at once again", where)
        return found
