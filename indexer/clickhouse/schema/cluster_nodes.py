"""The tables that each node of a cluster has, and the nodes that do not answer.

One look is four statements over `clusterAllReplicas`, which leaves dead nodes out. The user needs the rights
REMOTE and CREATE TEMPORARY TABLE for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from indexer.clickhouse.schema.ddl import DdlStatement
from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store import Store, StoreError

#: Engines of a database in which the statements of this schema run.
_ENGINES: Final = frozenset({"Atomic", "Ordinary"})
#: ClickHouse's codes for a column that older versions lack.
_NO_COLUMN: Final = frozenset({16, 47})
_SKIP: Final = "SETTINGS skip_unavailable_shards = 1"


class ClusterNode(msgspec.Struct, frozen=True):
    """A node that answers: `columns` by table or view. `alp`: it knows the codec ALP."""

    host: str
    columns: Mapping[str, frozenset[str]]
    has_database: bool
    alp: bool

    def has(self, statement: DdlStatement) -> bool:
        """Return whether the node has the table, or the column, of a statement."""
        if not statement.column:
            return statement.table in self.columns
        return statement.column in self.columns.get(statement.table, frozenset())


class ClusterNodes(msgspec.Struct, frozen=True):
    """The nodes that answer, and how many do not."""

    nodes: Sequence[ClusterNode]
    silent: int = 0

    def all_have(self, statement: DdlStatement) -> bool:
        """Return whether no node that answers needs a statement."""
        return bool(statement.table) and all(node.has(statement) for node in self.nodes)

    def one_has(self, statement: DdlStatement) -> bool:
        """Return whether a node that answers has the table of a statement."""
        return any(statement.table in node.columns for node in self.nodes)


def look(store: Store, cluster: str) -> ClusterNodes:
    """Return the nodes of a cluster. Raises StoreError, also for one that would store rows twice."""
    replicas = _replicas(store, cluster)
    hosts = {int(n): str(host) for n, host in _ask(store, cluster, "one", "hostName()")}
    engines = dict(_ask(store, cluster, "databases", "engine", "name = {database:String}"))
    if other := sorted(set(map(str, engines.values())) - _ENGINES):
        raise StoreError(
            f"the database {store.database} has the engine {other[0]}: with indexer.cluster expected Atomic",
            retryable=False,
        )
    columns: dict[int, dict[str, frozenset[str]]] = {}
    found = _ask(
        store, cluster, "columns", "table, groupUniqArray(name)", "database = {database:String}", "table"
    )
    for node, table, names in found:
        columns.setdefault(int(node), {})[str(table)] = frozenset(names)
    alp = {int(n) for n, _ in _ask(store, cluster, "settings", "name", "name = 'enable_alp_codec'")}
    nodes = [ClusterNode(host, columns.get(n, {}), n in engines, n in alp) for n, host in hosts.items()]
    return ClusterNodes(nodes, max(0, replicas - len(nodes)))


def own_node(store: Store) -> ClusterNode:
    """Return the connected node, whose database exists. Raises StoreError."""
    rows = store.rows(
        "SELECT table, groupUniqArray(name) FROM system.columns WHERE database = currentDatabase()"
        " GROUP BY table"
    )
    columns = {str(table): frozenset(map(str, names)) for table, names in rows}
    return ClusterNode("", columns, has_database=True, alp=store.knows("enable_alp_codec"))


def definitions(store: Store, cluster: str) -> dict[str, str]:
    """Return the statement that made each table, from any node that has it. Raises StoreError."""
    rows = store.system_rows(
        f"SELECT name, any(create_table_query) FROM {_all(cluster, 'tables')}"
        f" WHERE database = {{database:String}} GROUP BY name {_SKIP}",
        {"database": store.database},
    )
    return {str(name): str(text) for name, text in rows}


def _ask(store: Store, cluster: str, table: str, select: str, where: str = "", by: str = "") -> Any:
    """Return rows of a system table of every node that answers, each with the node's number first."""
    condition = f" WHERE {where}" if where else ""
    group = f" GROUP BY _shard_num, {by}" if by else ""
    return store.system_rows(
        f"SELECT _shard_num, {select} FROM {_all(cluster, table)}{condition}{group} {_SKIP}",
        {"database": store.database},
    )


def _all(cluster: str, table: str) -> str:
    return f"clusterAllReplicas({quote_name(cluster)}, system.{table})"


def _replicas(store: Store, cluster: str) -> int:
    """Return the number of nodes in the configuration. Raises StoreError where replicas would differ."""
    select = "SELECT shard_num, count(), min({}) FROM system.clusters WHERE cluster = {{cluster:String}}"
    select += " GROUP BY shard_num ORDER BY shard_num"
    try:
        rows = store.system_rows(select.format("internal_replication"), {"cluster": cluster})
    except StoreError as e:
        if e.code not in _NO_COLUMN:
            raise
        rows = store.system_rows(select.format("1"), {"cluster": cluster})
    if not rows:
        raise StoreError(
            f"ClickHouse has no cluster {cluster} (indexer.cluster): expected a name in <remote_servers>",
            retryable=False,
        )
    for shard, replicas, internal in rows:
        if int(replicas) > 1 and not int(internal):
            raise StoreError(
                f"the shard {shard} of the cluster {cluster} has <internal_replication> false:"
                " expected true, else each replica gets every row twice",
                retryable=False,
            )
    return sum(int(replicas) for _, replicas, _ in rows)
