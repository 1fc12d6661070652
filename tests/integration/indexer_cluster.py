"""The cluster's tables in one process: Distributed ones over local ones, on a cluster of this one engine.

python -m tests.integration.indexer_cluster DIRECTORY    prints statements of starts, and totals, as JSON

Without ZooKeeper, `Replicated` and ON CLUSTER are taken out of the statements; the rest is as
rendered for a cluster: names, views on local tables, sharding, inserts through Distributed tables, and the
looks at the nodes. A second replica never answers.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import clickhouse_connect
import numpy as np
from clickhouse_connect.driver.client import Client

import indexer.background_parts
import indexer.service
from indexer.clickhouse.client_pool import ClientPool
from indexer.clickhouse.schema import GRANULARITIES, complete, migrate, table_maker
from indexer.clickhouse.schema.cluster_nodes import ClusterNodes, definitions, look
from indexer.clickhouse.store import Store
from indexer.deletion.deleter import Deleter, DeletionParts
from indexer.deletion.deletion_request import DeletionRequest, MetricSeries
from indexer.diagnosis.check import Surroundings
from indexer.diagnosis.cluster_checks import CLUSTER
from indexer.diagnosis.examination import examine
from indexer.integrity.tables_watch import TablesWatch
from indexer.intern.cache import LruCache
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.series import SeriesRegistry
from indexer.intern.string_indexer import StringIndexer
from indexer.settings import Settings
from indexer.write.inserter import Inserter
from indexer.write.write_gate import WriteGate
from tests.support.frames import TEN_YEARS, FrameRows, make_frame, unit
from tests.support.ports import free_port

CONFIG = """<clickhouse>
  <tcp_port>{port}</tcp_port>
  <listen_host>127.0.0.1</listen_host>
  <remote_servers><prod><shard>
    <internal_replication>{internal}</internal_replication>
    <replica><host>127.0.0.1</host><port>{port}</port></replica>
    <replica><host>127.0.0.1</host><port>1</port></replica>
  </shard></prod></remote_servers>
</clickhouse>
"""


class LocalCluster(Store):
    """A cluster of this one engine, and of a second replica that is dead.

    `issued` has each statement ON CLUSTER, with its settings. They run here.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(ClientPool([client], "meterhouse"), "meterhouse", "prod", embedded=True)
        self.issued: list[tuple[str, Mapping[str, Any]]] = []

    def command(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if " ON CLUSTER " in sql:
            self.issued.append((sql, settings or {}))
        super().command(local(sql), parameters)

    def create_database(self, *, on_cluster: bool = True, settings: Mapping[str, Any] | None = None) -> None:
        if on_cluster:
            self.issued.append(("CREATE DATABASE", settings or {}))
        super().create_database(on_cluster=False)


def open_cluster(directory: Path, *, internal: bool = True) -> LocalCluster:
    config = directory / "config.xml"
    config.write_text(CONFIG.format(port=free_port(), internal=str(internal).lower()))
    client = clickhouse_connect.get_client(
        interface="chdb", path=str(directory / "chdb"), chdb_options={"config-file": str(config)}
    )
    client.command("SET enable_alp_codec = 1")
    client.database = "meterhouse"
    return LocalCluster(client)


def local(statement: str) -> str:
    """Return a statement of the cluster for one engine without Keeper."""
    alone = statement.replace(" ON CLUSTER `prod`", "")
    alone = re.sub(r"Replicated(\w+)\('[^']*', '[^']*'(?:, )?([^)]*)\)", r"\1(\2)", alone)
    window = "SETTINGS non_replicated_deduplication_window = 100000"
    return re.sub(r"SETTINGS replicated_.*async_inserts = \d+", window, alone)


def starts(store: LocalCluster) -> dict[str, object]:
    """Return the statements of starts: a first and a second one, and one after a loss of tables."""
    begun_s = time.monotonic()
    migrate(store, TEN_YEARS)
    first, store.issued = store.issued, []
    found: dict[str, object] = {
        "tables": sum(one.startswith("CREATE TABLE") for one, _ in first),
        "waits": sorted({int(settings["distributed_ddl_task_timeout"]) for _, settings in first}),
        "modes": sorted({str(settings["distributed_ddl_output_mode"]) for _, settings in first}),
        "soon": time.monotonic() - begun_s < 240,
    }
    migrate(store, TEN_YEARS)
    found["again"] = [one for one, _ in store.issued]
    store.command("DROP VIEW incoming_sets_1d_view_local SYNC")
    store.command("DROP TABLE sets_1d_local SYNC")
    store.command("ALTER TABLE subscriptions DROP COLUMN webhook")
    found["completed"] = complete(store)
    found["names"] = [one.split("`")[3] for one, _ in store.issued]
    store.issued.clear()
    complete(store)
    found["then"] = [one for one, _ in store.issued]
    around = Surroundings("meterhouse", "prod")
    (nodes,) = examine(store, [one for one in CLUSTER if one.name == "nodes"], around)
    found["nodes"] = nodes.judgement.reason
    store.kill("nothing")
    found["killed"] = [(one[:30], settings) for one, settings in store.issued]
    return found


def copied_definition(store: LocalCluster) -> bool:
    """Return whether a node gets a table as another node has it, here with another TTL.

    The other node is that of before the loss: this engine has no second one.
    """
    before, known = look(store, "prod").nodes, definitions(store, "prod")
    days = "toIntervalDay(retention_days)"
    known["sets_1d_local"] = known["sets_1d_local"].replace(days, f"{days} + toIntervalDay(1)")
    store.command("DROP VIEW incoming_sets_1d_view_local SYNC")
    store.command("DROP TABLE sets_1d_local SYNC")
    with (
        patch.object(table_maker, "look", lambda *of: ClusterNodes([*look(*of).nodes, *before])),
        patch.object(table_maker, "definitions", lambda *_: known),
    ):
        complete(store)
    ((made,),) = store.rows("SELECT create_table_query FROM system.tables WHERE name = 'sets_1d_local'")
    return "toIntervalDay(1)" in made


async def completed_by_itself(store: LocalCluster) -> bool:
    """Return whether a running indexer makes a view again that is lost."""
    indexer.background_parts.TablesWatch = partial(TablesWatch, every_s=0.05)  # type: ignore[assignment,attr-defined]
    settings = Settings(cluster="prod", listen="127.0.0.1:0", batching="frame", up=False, retention=TEN_YEARS)
    service = indexer.service.IndexerService(settings, store)
    await service.start()
    store.command("DROP VIEW incoming_sets_1d_view_local SYNC")
    deadline_s = time.monotonic() + 240
    there = "SELECT 1 FROM system.tables WHERE name = 'incoming_sets_1d_view_local'"
    while not (found := store.rows(there)):
        assert time.monotonic() < deadline_s, "it makes no tables"
        await asyncio.sleep(0.05)
    await service.stop()
    return bool(found)


def deleted(store: LocalCluster) -> dict[str, object]:
    """Delete 40 of the 100 series by their ids, in parts; return the result, the rest, and the statements."""
    store.issued.clear()
    ids = np.array([i for (i,) in store.rows("SELECT DISTINCT series_id FROM counters_1d ORDER BY 1")], "<u8")
    ((metric_id,),) = store.rows("SELECT any(metric_id) FROM counters_1d")
    asked = DeletionRequest(1, [MetricSeries(1, "counters", metric_id, ids[:40].tobytes())], start_s=1)
    parts = DeletionParts(WriteGate(), None, lambda: None, alone=False)
    result = Deleter(store, TEN_YEARS, parts).delete(asked)
    left = {g.name: store.rows(f"SELECT sum(value) FROM counters_{g.name}")[0][0] for g in GRANULARITIES}
    return {
        "result": [result.series, result.rows, result.start_s],
        "left": left,
        "series": store.rows("SELECT count(DISTINCT series_id) FROM series")[0][0],
        "issued": sorted(sql.split("`")[3] for sql, _ in store.issued),
        "modes": sorted({str(settings["distributed_ddl_output_mode"]) for _, settings in store.issued}),
    }


def main() -> None:
    store = open_cluster(Path(sys.argv[1]))
    found = starts(store)
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
    written = {"counters": totals, "members": members[0], "series": series[0], "tags": tags[0]}
    found["copied"] = copied_definition(store)
    found["by_itself"] = asyncio.run(completed_by_itself(store))
    print(json.dumps({"starts": found, "written": written, "deleted": deleted(store)}))
    store.close()


if __name__ == "__main__":
    main()
