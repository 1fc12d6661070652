"""A node of a cluster over a real ZooKeeper, in a process of its own: makes the replicated tables there.

python -m tests.integration.keeper_replica DIRECTORY ZOOKEEPER_PORT REPLICA    prints its tables, as JSON

The tables stay read-only, as the embedded engine has no address for other replicas; that they are made
proves paths, macros and columns. The definitions of another replica may come on standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import clickhouse_connect

from indexer.clickhouse.client_pool import ClientPool
from indexer.clickhouse.schema import Layout, Retention, make_on_this_node, statements
from indexer.clickhouse.schema.cluster_nodes import definitions
from indexer.clickhouse.schema.ddl import copied
from indexer.clickhouse.store import Store, StoreError
from tests.support.ports import free_port

CONFIG = """<clickhouse>
  <tcp_port>{port}</tcp_port>
  <listen_host>127.0.0.1</listen_host>
  <zookeeper><node><host>127.0.0.1</host><port>{keeper}</port></node></zookeeper>
  <macros><shard>01</shard><replica>{replica}</replica></macros>
  <remote_servers><prod><shard>
    <internal_replication>true</internal_replication>
    <replica><host>127.0.0.1</host><port>{port}</port></replica>
  </shard></prod></remote_servers>
</clickhouse>
"""
_REPLICAS = """
SELECT table, zookeeper_path, replica_name, total_replicas FROM system.replicas
WHERE database = currentDatabase() ORDER BY table
"""


def open_node(directory: Path, keeper: int, replica: str) -> Store:
    config = directory / f"{replica}.xml"
    config.write_text(CONFIG.format(port=free_port(), keeper=keeper, replica=replica))
    client = clickhouse_connect.get_client(
        interface="chdb", path=str(directory / replica), chdb_options={"config-file": str(config)}
    )
    client.command("SET enable_alp_codec = 1")
    return Store(ClientPool([client], "meterhouse"), "meterhouse", None, embedded=True)


def join(store: Store, known: dict[str, str]) -> str:
    """Make the tables by the definitions of another replica; return the error of our own definition."""
    store.create_database()
    own = Layout(cluster="prod", on_cluster=False, retention=Retention(1, 2, 3, 4))
    refused = ""
    for statement in statements(own):
        if statement.table == "series_local" and statement.creates:
            try:
                store.command(statement.text)
            except StoreError as e:
                refused = e.name or ""
        if statement.creates:
            store.command(copied(known[statement.table], store.database, statement.table, ""))
    return refused


def main() -> None:
    directory, keeper, replica = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    store = open_node(directory, keeper, replica)
    try:
        print(json.dumps(_made(store, sys.stdin.read())))
    except Exception:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)  # the engine's end would wait for other replicas


def _made(store: Store, given: str) -> dict[str, object]:
    """Make the tables, and return those that are replicated; `given`: definitions of another replica."""
    refused = join(store, json.loads(given)) if given else ""
    if not given:
        make_on_this_node(store, "prod")
    return {
        "replicas": store.rows(_REPLICAS),
        "refused": refused,
        "definitions": definitions(store, "prod"),
        "version": make_on_this_node(store, "prod"),
    }


if __name__ == "__main__":
    main()
