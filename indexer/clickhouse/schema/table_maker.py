"""Runs the statements of the schema: on one node, or on a cluster only where a node lacks something.

On a cluster a table that another node has already is made with that node's definition: replicas need the same
path in Keeper, the same columns, codecs and TTL. A dead node is not waited for; `complete` makes its tables
when it is back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from indexer.clickhouse.schema.cluster_nodes import ClusterNode, ClusterNodes, definitions, look, own_node
from indexer.clickhouse.schema.ddl import DdlStatement, copied, without_alp
from indexer.clickhouse.schema.render import Layout, on_cluster
from indexer.clickhouse.store import Store, StoreError

log = logging.getLogger(__name__)

#: Codes of a server that does not take a codec: BAD_ARGUMENTS, UNKNOWN_CODEC.
_CODEC_REFUSED: Final = frozenset({36, 432})
_FORBIDDEN: Final = 497
#: Seconds that a statement ON CLUSTER waits for all nodes, and for the others while one is dead.
_WAIT_S: Final = 30
_WAIT_WITH_DEAD_S: Final = 1
#: Seconds that nodes which answer may take for their statements.
_NODES_S: Final = 30.0


class TableMaker:
    """Runs statements over a store.

    `cluster` None: a single node. `here`: make a cluster's tables on the connected node alone.
    """

    def __init__(self, store: Store, cluster: str | None, *, here: bool = False) -> None:
        self._store = store
        self._cluster = cluster
        self._here = here
        self._nodes: ClusterNodes | None = None
        self._definitions: Mapping[str, str] | None = None
        self._own: ClusterNode | None = None
        self._said_silent = 0
        self._issued: list[DdlStatement] = []
        self.alp = store.knows("enable_alp_codec")

    def prepare(self, *, unseen: bool = True) -> None:
        """Look at the nodes, and make the database where it is missing. Raises StoreError.

        `unseen`: make it also where the user may not look.
        """
        store = self._store
        if self._cluster is None:
            store.create_database()
            return
        self._look()
        nodes = self._nodes
        missing = unseen if nodes is None else not all(node.has_database for node in nodes.nodes)
        if self._here or missing:
            store.create_database(on_cluster=not self._here, settings=self._settings())
        if self._here:
            self._own = own_node(store)

    def run(self, statement: DdlStatement, layout: Layout) -> None:
        """Run a statement if a node needs it. Raises StoreError."""
        nodes = self._nodes
        if nodes is None:
            self._issue(statement.text)
        elif self._here:
            if statement.column:
                self._own = own_node(self._store)  # with the tables made meanwhile
            if statement.table and not (self._own is not None and self._own.has(statement)):
                self._issue(self._text(statement, layout, nodes))
        elif not nodes.all_have(statement):
            self._issue(self._text(statement, layout, nodes))
            self._issued.append(statement)

    def complete(self, statements: Iterable[DdlStatement], layout: Layout) -> int:
        """Run the statements that a node still needs; return how many. Raises StoreError."""
        before = len(self._issued)
        if self._nodes is not None:
            for statement in statements:
                if statement.table:
                    self.run(statement, layout)
        return len(self._issued) - before

    def wait(self) -> None:
        """Wait until the nodes that answer have the new tables; warn of others. Raises StoreError."""
        if self._cluster is None or self._here or not self._issued or self._nodes is None:
            return
        deadline_s = time.monotonic() + _NODES_S
        while True:
            self._look()
            lacking = self._lacking()
            if not lacking or time.monotonic() > deadline_s:
                break
            time.sleep(_WAIT_WITH_DEAD_S)
        self._issued.clear()
        if lacking:
            log.warning("event=nodes_lack_tables nodes=%s hint=meterhouse schema apply", ",".join(lacking))

    def _lacking(self) -> list[str]:
        """Return the hosts that lack something that was made."""
        nodes = self._nodes.nodes if self._nodes is not None else ()
        wanted = [one for one in self._issued if one.table]
        return [node.host for node in nodes if not all(node.has(one) for one in wanted)]

    def _look(self) -> None:
        """Note the tables of the nodes; for a user that may not see them every statement is issued."""
        assert self._cluster is not None
        try:
            self._nodes = look(self._store, self._cluster)
        except StoreError as e:
            if e.code != _FORBIDDEN:
                raise
            log.warning("event=nodes_not_seen hint=meterhouse doctor --cluster %s text=%s", self._cluster, e)
            return
        if self._nodes.silent != self._said_silent:
            self._said_silent = self._nodes.silent
            log.warning("event=nodes_silent count=%d", self._nodes.silent)
        self.alp = all(node.alp for node in self._nodes.nodes)

    def _text(self, statement: DdlStatement, layout: Layout, nodes: ClusterNodes) -> str:
        """Return the text to run: that of a node which has the table, with its path in Keeper."""
        if not statement.creates or not nodes.one_has(statement) or self._cluster is None:
            return statement.text
        if self._definitions is None:
            self._definitions = definitions(self._store, self._cluster)
        known = self._definitions.get(statement.table, "")
        return copied(known, layout.database, statement.table, on_cluster(layout)) or statement.text

    def _issue(self, text: str) -> None:
        """Run a statement; with plain codecs where the engine refuses ALP."""
        if not self.alp:
            text = without_alp(text)
        try:
            self._store.command(text, settings=self._settings())
        except StoreError as e:
            plain = without_alp(text)
            if e.code not in _CODEC_REFUSED or plain == text:
                raise
            log.warning("event=codec_refused codec=ALP text=%s", e)
            self.alp = False
            self._store.command(plain, settings=self._settings())

    def _settings(self) -> Mapping[str, Any] | None:
        """Return the settings of a statement ON CLUSTER."""
        if self._cluster is None or self._here:
            return None
        silent = self._nodes is not None and self._nodes.silent
        return {
            "distributed_ddl_task_timeout": _WAIT_WITH_DEAD_S if silent else _WAIT_S,
            "distributed_ddl_output_mode": "null_status_on_timeout",
            "alter_sync": 1,  # with 2 it waits for dead replicas, too
        }
