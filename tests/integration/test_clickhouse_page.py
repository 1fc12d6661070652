"""The SQL and XML in docs/clickhouse.md: the engine parses the SQL, and runs none of it; the XML is read."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from indexer.clickhouse.store import Store
from tests.support.markdown import ROOT


def _snippets(language: str) -> list[str]:
    page = (ROOT / "docs" / "clickhouse.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_the_statements_are_sql(store: Store) -> None:
    statements = _snippets("sql")
    assert len(statements) == 12
    for statement in statements:
        assert store.rows(f"EXPLAIN AST {statement}")


def test_grants_are_those_of_the_file() -> None:
    text = (ROOT / "deploy" / "clickhouse-users.sql").read_text()
    lines = " ".join(line for line in text.splitlines() if not line.startswith("--"))
    wanted = {" ".join(one.split()) for one in lines.split(";") if one.strip()}
    assert wanted <= {" ".join(one.split()) for one in _snippets("sql")}


def test_the_configuration_has_what_a_cluster_needs() -> None:
    """Each shard has internal_replication, and Keeper's nodes are those of its own configuration."""
    server, keeper = (ET.fromstring(one) for one in _snippets("xml"))
    shards = server.findall("remote_servers/main/shard")
    assert [one.findtext("internal_replication") for one in shards] == ["true", "true"]
    hosts = [host.text for shard in shards for host in shard.findall("replica/host")]
    assert len(set(hosts)) == 4
    macros = server.find("macros")
    assert macros is not None
    assert {one.tag for one in macros} == {"shard", "replica"}
    assert macros.findtext("replica") in hosts
    nodes = [(node.findtext("host"), node.findtext("port")) for node in server.findall("zookeeper/node")]
    port = keeper.findtext("keeper_server/tcp_port")
    members = keeper.findall("keeper_server/raft_configuration/server")
    assert nodes == [(one.findtext("hostname"), port) for one in members]
