"""The grants of docs/clickhouse.md, given to the engine's only user: all that the services do is allowed.

Tables of `system` need grants, too, as they do on a server (STRICT of the test server).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import pytest

import meterhouse
from indexer.clickhouse.schema.cluster_nodes import look
from indexer.clickhouse.store import open_store
from indexer.deletion.deleter import Deleter, DeletionParts
from indexer.deletion.deletion_request import DeletionRequest, MetricSeries
from indexer.diagnosis.check import CheckResult, DoctorCheck, Surroundings
from indexer.diagnosis.cluster_checks import CLUSTER
from indexer.diagnosis.examination import examine
from indexer.diagnosis.right_checks import indexer_rights, shim_rights
from indexer.diagnosis.server_checks import SERVER
from indexer.diagnosis.table_checks import TABLES
from indexer.write.write_gate import WriteGate
from shim.http.house_sources import disk
from shim.model.tenancy import Tenant
from shim.read.reader import Reader
from shim.read.window_plan import Limits
from shim.sql import nodes as sql
from tests.support.clickhouse_http import STRICT, running
from tests.support.frames import TEN_YEARS
from tests.support.markdown import ROOT
from tests.support.pipeline import Pipeline
from tests.support.ports import free_port

NOW_S: Final = int(time.time()) // 10 * 10 - 600
COUNTERS: Final = sql.Table("meterhouse", "counters_10s")
#: Begins the grants that a cluster needs, and those for doctor there.
_OF_CLUSTERS: Final = ("CLUSTER", "SELECT ON system.clusters", "SELECT ON system.macros")
_USERS: Final = """<clickhouse>
  <profiles><default>{profile}</default></profiles><quotas><default/></quotas>
  <users><default>
    <password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
    <grants>{grants}</grants>
  </default></users>
</clickhouse>
"""
#: A cluster of this node, and of a second replica that is dead.
_CONFIG: Final = """<clickhouse>
  <users_config>{users}</users_config><tcp_port>{port}</tcp_port>
  <remote_servers><prod><shard>
    <internal_replication>true</internal_replication>
    <replica><host>127.0.0.1</host><port>{port}</port></replica>
    <replica><host>127.0.0.1</host><port>1</port></replica>
  </shard></prod></remote_servers>
</clickhouse>
"""


def _grants(user: str, *, cluster: bool) -> list[str]:
    """Return the page's grants to a user, without the user's name."""
    page = (ROOT / "docs" / "clickhouse.md").read_text()
    found = [one.split() for one in re.findall(r"```sql\nGRANT (.*?)```", page, re.DOTALL)]
    texts = [" ".join(words[:-2]) for words in found if words[-2:] == ["TO", user]]
    return [f"GRANT {one}" for one in texts if cluster or not one.startswith(_OF_CLUSTERS)]


@contextmanager
def _server(folder: Path, user: str, *, cluster: bool = False, profile: str = "") -> Iterator[str]:
    """Yield the DSN of a server whose user has the page's grants.

    SHOW DATABASES: the test server says USE, as a server does not.
    """
    grants = [*_grants(user, cluster=cluster), "GRANT SHOW DATABASES ON system.*"]
    queries = "".join(f"<query>{escape(one)}</query>" for one in grants)
    users, config = folder / "users.xml", folder / "config.xml"
    users.write_text(_USERS.format(profile=profile, grants=queries))
    config.write_text(_CONFIG.format(users=users, port=free_port()))
    with running(folder / "clickhouse", config=config) as port:
        yield f"http://{STRICT}@127.0.0.1:{port}/meterhouse"


def _unmet(dsn: str, checks: Sequence[DoctorCheck], cluster: str | None = None) -> dict[str, str]:
    """Return the reasons of the checks that did not pass."""
    with closing(open_store(dsn, pool=1, database="system")) as store:
        around = Surroundings("meterhouse", cluster, time.time_ns() // 1_000_000)
        found = {one.check.name: one.judgement for one in examine(store, checks, around)}
    return {
        name: one.reason
        for name, one in found.items()
        if one.result is not CheckResult.PASSED and one.reason != "not a cluster"
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide data that the indexer's user made: 30 series."""
    folder = tmp_path_factory.mktemp("granted")
    with _server(folder, "meterhouse_indexer") as dsn:
        assert meterhouse.main(["schema", "apply", "--dsn", dsn]) == 0
        with closing(open_store(dsn, pool=2)) as store:
            pipeline = Pipeline.open(store, NOW_S * 1000)
            pipeline.send([f"x:2|c|#n:{n}|T{NOW_S - 5}" for n in range(40)])
            pipeline.close()
            ids = store.rows("SELECT metric_id, groupUniqArray(10)(series_id) FROM counters_1d GROUP BY 1")
            metric_id, series = ids[0]
            packed = b"".join(int(one).to_bytes(8, "little") for one in series)
            asked = DeletionRequest(1, [MetricSeries(1, "counters", metric_id, packed)], start_s=1)
            parts = DeletionParts(WriteGate(), None, lambda: None, alone=True)
            assert Deleter(store, TEN_YEARS, parts).delete(asked).series == 10
            store.command("ALTER TABLE counters_60s DELETE WHERE 1 SETTINGS mutations_sync = 1")
            settings = folder / "meterhouse.toml"
            settings.write_text(f"[indexer]\ndsn = '{dsn}'\n")
            assert meterhouse.main(["repair", "--yes", "--config", str(settings)]) == 0
            assert store.rows("SELECT sum(value) FROM counters_60s") == [(60.0,)]
        checks = [*SERVER, *indexer_rights("meterhouse", cluster=False), *TABLES]
        assert _unmet(dsn, [one for one in checks if one.name != "disks"]) == {}
    return folder


def test_the_shim_reads_and_ends_its_statements(folder: Path) -> None:
    with _server(folder, "meterhouse_shim", profile="<readonly>2</readonly>") as dsn:
        with closing(open_store(dsn, pool=2)) as store:
            failed: list[str] = []
            store.kills.failed = lambda: failed.append("x")
            reader = Reader(store, Tenant(1, 1), Limits(settled_s=None), 1000, 1000, time.monotonic() + 60)
            query = sql.Query(
                (sql.Named(sql.call("sum", "value"), "v"),), sql.Table("meterhouse", "counters_10s")
            )
            assert reader.fetch(query, [("v", "<f8")])["v"].tolist() == [60.0]
            assert {one["table"] for one in disk(store)} >= {"counters_10s", "series"}
            reader.cancel()
            assert failed == []
        assert _unmet(dsn, [*shim_rights("meterhouse")], "prod") == {
            "ends statements": "of the node that it asks; those of others end at their deadline. ON CLUSTER"
            " needs CLUSTER and KILL QUERY, and a profile without readonly"
        }


def test_the_indexer_looks_at_the_nodes_of_a_cluster(folder: Path) -> None:
    with _server(folder, "meterhouse_indexer", cluster=True) as dsn:
        with closing(open_store(dsn, pool=1)) as store:
            found = look(store, "prod")
        assert (len(found.nodes), found.silent) == (1, 1)
        assert "counters_10s" in found.nodes[0].columns
        checks = [*indexer_rights("meterhouse", cluster=True), *CLUSTER]
        unmet = _unmet(dsn, checks, "prod")
    assert not [reason for reason in unmet.values() if "may not see" in reason]
    assert unmet.keys() == {"macros", "Keeper", "nodes", "replicas"}
