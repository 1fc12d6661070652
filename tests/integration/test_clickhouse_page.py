"""The SQL and XML in docs/clickhouse.md: the engine parses the SQL, takes the XML, and runs the backup."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from indexer.clickhouse.schema import migrate
from indexer.clickhouse.schema.cluster_nodes import look
from indexer.clickhouse.store import Store, StoreError, open_store
from tests.support.clickhouse_http import running
from tests.support.markdown import ROOT
from tests.support.pipeline import Pipeline
from tests.support.ports import free_port

#: Clusters beside the page's: of this node alone, and one whose replicas would get each row twice.
_OTHERS: Final = """
<here><shard><replica><host>127.0.0.1</host><port>{port}</port></replica></shard></here>
<doubling><shard>
  <replica><host>127.0.0.1</host><port>{port}</port></replica>
  <replica><host>127.0.0.1</host><port>1</port></replica>
</shard></doubling>
"""
NOW_S: Final = int(time.time()) // 10 * 10 - 600


def _snippets(language: str) -> list[str]:
    page = (ROOT / "docs" / "clickhouse.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_the_statements_are_sql(store: Store) -> None:
    statements = _snippets("sql")
    assert len(statements) == 16
    for statement in statements:
        assert store.rows(f"EXPLAIN AST {statement}")


def test_they_are_sql_for_a_cluster(store: Store) -> None:
    """As the page says: ON CLUSTER after the first word of GRANT, and after the name elsewhere."""
    on_cluster = [
        re.sub(
            r"^(GRANT|CREATE (?:DATABASE|USER|SETTINGS PROFILE) IF NOT EXISTS \w+)",
            r"\1 ON CLUSTER main",
            one,
        )
        for one in _snippets("sql")
        if one.startswith(("GRANT", "CREATE"))
    ]
    assert len(on_cluster) > 10
    for statement in on_cluster:
        assert "ON CLUSTER main" in statement
        assert store.rows(f"EXPLAIN AST {statement}")


def test_grants_are_those_of_the_file() -> None:
    text = (ROOT / "deploy" / "clickhouse-users.sql").read_text()
    lines = " ".join(line for line in text.splitlines() if not line.startswith("--"))
    wanted = {" ".join(one.split()) for one in lines.split(";") if one.strip()}
    assert wanted <= {" ".join(one.split()) for one in _snippets("sql")}


def test_the_configuration_has_what_a_cluster_needs() -> None:
    """Each shard has internal_replication, and Keeper's nodes are those of its own configuration."""
    server, keeper, _ = (ET.fromstring(one) for one in _snippets("xml"))
    shards = server.findall("remote_servers/main/shard")
    assert [one.findtext("internal_replication") for one in shards] == ["true", "true"]
    assert server.findtext("remote_servers/main/secret")
    assert server.findtext("listen_host") == keeper.findtext("listen_host") == "::"
    hosts = [host.text for shard in shards for host in shard.findall("replica/host")]
    assert len(set(hosts)) == 4
    macros = server.find("macros")
    assert macros is not None
    assert {one.tag for one in macros} == {"shard", "replica"}
    assert macros.findtext("replica") in hosts
    assert server.findtext("interserver_http_host") == macros.findtext("replica")
    nodes = [(node.findtext("host"), node.findtext("port")) for node in server.findall("zookeeper/node")]
    port = keeper.findtext("keeper_server/tcp_port")
    members = keeper.findall("keeper_server/raft_configuration/server")
    assert nodes == [(one.findtext("hostname"), port) for one in members]


@pytest.fixture(scope="module")
def opening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Store]]:
    """Open databases of a server with the page's configurations of a cluster and of backups."""
    folder = tmp_path_factory.mktemp("page")
    config, _, backups = (ET.fromstring(one) for one in _snippets("xml"))
    config.extend(backups)
    path = config.find("storage_configuration/disks/backups/path")
    assert path is not None
    path.text = f"{folder / 'backups'}/"
    port = free_port()
    clusters = config.find("remote_servers")
    assert clusters is not None
    clusters.extend(ET.fromstring(f"<x>{_OTHERS.format(port=port)}</x>"))
    ET.SubElement(config, "tcp_port").text = str(port)
    file = folder / "config.xml"
    file.write_text(ET.tostring(config, encoding="unicode"))
    with running(folder / "clickhouse", config=file) as http_port:
        yield lambda name: open_store(f"http://127.0.0.1:{http_port}/{name}", pool=1)


def test_the_engine_takes_the_configuration(opening: Callable[[str], Store]) -> None:
    with closing(opening("default")) as store:
        assert store.rows(
            "SELECT shard_num, host_name, internal_replication FROM system.clusters WHERE cluster = 'main'"
            " ORDER BY shard_num, replica_num"
        ) == [(1, "ch-1a", 1), (1, "ch-1b", 1), (2, "ch-2a", 1), (2, "ch-2b", 1)]
        assert store.rows("SELECT macro, substitution FROM system.macros ORDER BY macro") == [
            ("replica", "ch-1a"),
            ("shard", "01"),
        ]
        assert store.rows("SELECT type FROM system.disks WHERE name = 'backups'") == [("Local",)]


def test_a_shard_that_would_store_rows_twice_ends_the_indexer(opening: Callable[[str], Store]) -> None:
    with closing(opening("default")) as store:
        with pytest.raises(
            StoreError, match="cluster doubling has <internal_replication> false: expected true"
        ):
            look(store, "doubling")
        with pytest.raises(StoreError, match="ClickHouse has no cluster other"):
            look(store, "other")


def test_a_database_of_another_engine_ends_the_indexer(opening: Callable[[str], Store]) -> None:
    with closing(opening("default")) as store:
        store.command("CREATE DATABASE another ENGINE = Memory")
    with (
        closing(opening("another")) as store,
        pytest.raises(StoreError, match=r"another has the engine Memory: .*expected Atomic"),
    ):
        look(store, "here")


def test_a_backup_brings_every_row_back(opening: Callable[[str], Store]) -> None:
    """Also its views: frames after a restore are in every rollup, as those before."""
    backup, restore = (one for one in _snippets("sql") if one.startswith(("BACKUP", "RESTORE")))
    with closing(opening("meterhouse")) as store, closing(opening("default")) as operator:
        store.create_database()
        migrate(store)
        _send(store, 50)
        before = _counts(store)
        operator.command(backup)
        operator.command("DROP DATABASE meterhouse SYNC")
        operator.command(restore)
        assert _counts(store) == before
        _send(store, 30)
        assert _sums(store) == [160.0] * 4
        operator.command(restore.replace(" FROM", " AS copied FROM"))
        with closing(opening("copied")) as copied:
            assert _counts(copied) == before
            _send(copied, 30)
            assert _sums(copied) == [160.0] * 4, "its views write into its own tables"
        assert _sums(store) == [160.0] * 4


def _sums(store: Store) -> list[float]:
    return [store.rows(f"SELECT sum(value) FROM counters_{g}")[0][0] for g in ("10s", "60s", "1h", "1d")]


def _send(store: Store, lines: int) -> None:
    pipeline = Pipeline.open(store, NOW_S * 1000)
    pipeline.send([f"x:2|c|#n:{n}|T{NOW_S - 5}" for n in range(lines)])
    pipeline.close()


def _counts(store: Store) -> dict[str, int]:
    """Return the rows of each table, once its parts are merged as far as answers need."""
    tables = store.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    )
    return {name: int(store.rows(f"SELECT count() FROM `{name}` FINAL")[0][0]) for (name,) in tables}


def test_every_test_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs" / "clickhouse.md").read_text().partition("\n## Tests\n")[2]
    named = re.findall(r"`([a-z0-9_/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 30
    missing = [f"{file}::{test}" for file, test in named if f"def {test}" not in _text(ROOT / "tests" / file)]
    assert missing == []


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
