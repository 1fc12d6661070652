"""The cluster's tables in one process: Distributed ones over local ones, on a cluster of this one engine.

python -m tests.integration.indexer_cluster DIRECTORY    prints totals, as JSON

There is no ZooKeeper here, so `Replicated` and ON CLUSTER are taken out of the statements; the rest is as
rendered for a cluster: names, views on local tables, sharding, inserts through Distributed tables.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect

from indexer.clickhouse.schema import GRANULARITIES, Layout, statements
from indexer.clickhouse.store import Store
from indexer.intern.cache import LruCache
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.series import SeriesRegistry
from indexer.intern.string_indexer import StringIndexer
from indexer.write.inserter import Inserter
from tests.support.frames import TEN_YEARS, FrameRows, make_frame, unit
from tests.support.ports import free_port

CONFIG = """<clickhouse>
  <tcp_port>{port}</tcp_port>
  <listen_host>127.0.0.1</listen_host>
  <remote_servers><prod><shard><replica>
    <host>127.0.0.1</host><port>{port}</port>
  </replica></shard></prod></remote_servers>
</clickhouse>
"""


def open_cluster(directory: Path) -> Store:
    port = free_port()
    config = directory / "config.xml"
    config.write_text(CONFIG.format(port=port))
    client = clickhouse_connect.get_client(
        interface="chdb", path=str(directory / "chdb"), chdb_options={"config-file": str(config)}
    )
    client.command("SET enable_alp_codec = 1")
    client.command("CREATE DATABASE meterhouse")
    client.database = "meterhouse"
    return Store([client], "meterhouse", "prod", embedded=True)


def local_statements() -> Iterator[str]:
    for statement in statements(Layout(cluster="prod")):
        alone = statement.replace(" ON CLUSTER `prod`", "")
        alone = re.sub(r"Replicated(\w+)\('[^']*', '[^']*'(?:, )?([^)]*)\)", r"\1(\2)", alone)
        window = "SETTINGS non_replicated_deduplication_window = 100000"
        yield re.sub(r"SETTINGS replicated_.*async_inserts = \d+", window, alone)


def main() -> None:
    store = open_cluster(Path(sys.argv[1]))
    for statement in local_statements():
        store.command(statement)
    now_s = int(time.time()) // 86_400 * 86_400
    rows = FrameRows(
        counters=[("hits", {"host": f"h{i}"}, now_s + i * 10, 1.0) for i in range(100)],
        sets=[("users", {}, now_s, list(range(30)))],
    )
    units = [unit(make_frame(rows))]
    for _ in range(2):  # a second indexer knows nothing of the first one's writes
        strings = StringIndexer(ClickHouseIdStore(store), [LruCache(100)])
        inserter = Inserter(store, strings, SeriesRegistry(100), retention=TEN_YEARS)
        inserter.insert("token", units)
        inserter.insert("token", units)
    totals = {g.name: store.rows(f"SELECT sum(value) FROM counters_{g.name}")[0][0] for g in GRANULARITIES}
    (members,) = store.rows("SELECT uniqCombined64Merge(members) FROM sets_1d")
    (series,) = store.rows("SELECT count(DISTINCT series_id) FROM series")
    (tags,) = store.rows("SELECT count(DISTINCT tag_value) FROM metric_tag_values")
    print(json.dumps({"counters": totals, "members": members[0], "series": series[0], "tags": tags[0]}))
    store.close()


if __name__ == "__main__":
    main()
