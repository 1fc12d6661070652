"""Runs `ALTER TABLE ... DELETE`: begins several, and waits until all rows are gone.

ClickHouse deletes in the background the rows that were there when the statement came; later rows stay. A
statement is found again by a tag in its text. It survives a restart of the server.

ClickHouse tries again by itself if it fails, as it does where memory is short while others delete, too. Ended
then, it would leave the rows in some tables and not in others. But further deletions from the table wait for
it, those of other orgs as well.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from indexer.clickhouse.faults import Fault, fault_of
from indexer.clickhouse.schema.render import Layout, delete_rows
from indexer.clickhouse.sql_quoting import quote_text
from indexer.clickhouse.store import Store, StoreError
from indexer.deletion.deletion_request import DeletionBusyError

log = logging.getLogger(__name__)

#: Seconds between two looks whether the rows are gone: the first, and the longest.
_FIRST_LOOK_S: Final = 0.005
_LONGEST_LOOK_S: Final = 0.5
#: Settings of a statement ON CLUSTER. One replica of each shard takes it, the others follow by Keeper:
#: a dead one holds nothing up.
_ON_CLUSTER: Final[Mapping[str, Any]] = {
    "distributed_ddl_task_timeout": 30,
    "distributed_ddl_output_mode": "null_status_on_timeout",
}
#: Seconds after which a deletion is left to the background.
_MAX_WAIT_S: Final = 6 * 3_600.0
#: How long a deletion may fail for a cause that passes.
_FAILING_S: Final = 60.0
_CODE: Final = re.compile(r"Code: (\d+)")


class Mutations:
    """Deletions with one tag. Every method raises StoreError."""

    def __init__(self, store: Store, tag: str) -> None:
        self._store = store
        self._tag = tag
        self._layout = Layout(database=store.database, cluster=store.cluster)
        self._tables: set[str] = set()
        self._fails_since_s: float | None = None

    def begin(self, table: str, where: str) -> None:
        """Begin to delete the rows of a table that meet a condition."""
        sql = delete_rows(table, f"{where} AND {quote_text(self._tag)} != ''", self._layout)
        self._store.command(sql, settings=_ON_CLUSTER if self._store.cluster is not None else None)
        self._tables.add(table if self._store.cluster is None else f"{table}_local")

    def wait(self, max_s: float = _MAX_WAIT_S) -> None:
        """Wait until the rows are gone, on every shard.

        Raises DeletionBusyError after hours; after a shorter `max_s` it ends the deletions first.
        """
        pause_s, until_s = _FIRST_LOOK_S, time.monotonic() + max_s
        while unfinished := self._unfinished():
            if time.monotonic() > until_s:
                if max_s < _MAX_WAIT_S:
                    self._end()
                    raise DeletionBusyError(
                        f"rows of {', '.join(unfinished)} were not deleted in {max_s:.0f} s, and INSERTs wait"
                        " for them: delete again later"
                    )
                raise DeletionBusyError(
                    f"rows of {', '.join(unfinished)} are still being deleted; that continues by itself:"
                    " delete again later"
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_LOOK_S)

    def wait_for_earlier(self, table: str, max_s: float) -> None:
        """Wait until no deletion from a table is in progress, of any tag. Raises DeletionBusyError.

        For stores that are no cluster.
        """
        sql = (
            "SELECT count() FROM system.mutations WHERE database = {database:String}"
            " AND table = {table:String} AND NOT is_done"
        )
        pause_s, until_s = _FIRST_LOOK_S, time.monotonic() + max_s
        while self._store.rows(sql, {"database": self._store.database, "table": table})[0][0]:
            if time.monotonic() > until_s:
                raise DeletionBusyError(
                    f"rows of {table} are still being deleted; that continues by itself: delete again later"
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_LOOK_S)

    def _unfinished(self) -> Sequence[str]:
        """Return the tables with rows left to delete. Raises if deletions go on failing, and ends them."""
        cluster = self._store.cluster
        everywhere = f"cluster({quote_text(cluster)}, system.mutations)" if cluster else ""
        rows = self._store.rows(
            f"SELECT table, min(is_done), max(latest_fail_reason) FROM {everywhere or 'system.mutations'}"
            f" WHERE database = {{database:String}} AND position(command, {{tag:String}}) > 0"
            " GROUP BY table",
            {"database": self._store.database, "tag": self._tag},
        )
        failed = [(table, reason) for table, is_done, reason in rows if reason and not is_done]
        if not failed:
            self._fails_since_s = None
        for table, reason in failed:
            self._check_passes(table, reason)
        return sorted(self._tables - {table for table, is_done, _ in rows if is_done})

    def _check_passes(self, table: str, reason: str) -> None:
        """End the deletions and raise if one fails for a cause that does not pass, or for long."""
        found = _CODE.search(reason)
        code = int(found[1]) if found else None
        fault, now_s = Fault.OTHER if code is None else fault_of(code), time.monotonic()
        if self._fails_since_s is None:
            self._fails_since_s = now_s
            log.warning("event=deletion_fails table=%s fault=%s code=%s", table, fault.value, code)
        if not fault.passes or now_s - self._fails_since_s > _FAILING_S:
            self._end()
            text = f"{table}: rows cannot be deleted"
            raise StoreError(text, retryable=fault.passes, code=code, fault=fault, detail=reason)

    def _end(self) -> None:
        self._store.command(
            f"KILL MUTATION WHERE database = {quote_text(self._store.database)}"
            f" AND position(command, {quote_text(self._tag)}) > 0 ASYNC"
        )
