"""Which statements a cluster's nodes need, and with which text."""

from __future__ import annotations

import pytest

from indexer.clickhouse.schema.cluster_nodes import ClusterNode, ClusterNodes
from indexer.clickhouse.schema.ddl import DdlStatement, copied, without_alp
from indexer.clickhouse.schema.migrate import statements
from indexer.clickhouse.schema.render import Layout

PATH = "ReplicatedReplacingMergeTree('/old/{shard}/series', '{replica}')"


def _node(*tables: str, columns: frozenset[str] = frozenset()) -> ClusterNode:
    return ClusterNode("a", dict.fromkeys(tables, columns), has_database=True, alp=True)


def test_a_statement_is_needed_where_a_node_lacks_its_table_or_column() -> None:
    table, column = DdlStatement("CREATE", "series"), DdlStatement("ALTER", "series", "day")
    both = ClusterNodes([_node("series", columns=frozenset({"day"})), _node("series")])
    assert both.all_have(table)
    assert not both.all_have(column)
    one = ClusterNodes([_node("series"), _node("strings")])
    assert not one.all_have(table)
    assert one.one_has(table)
    assert not one.all_have(DdlStatement("ALTER TABLE series MODIFY TTL day"))


@pytest.mark.parametrize(
    ("definition", "text"),
    [
        (
            f"CREATE TABLE m.series (id UInt64) ENGINE = {PATH} ORDER BY id",
            f"CREATE TABLE IF NOT EXISTS `m`.`series` ON CLUSTER `c` (id UInt64) ENGINE = {PATH} ORDER BY id",
        ),
        (
            "CREATE MATERIALIZED VIEW `m-1`.`a b` TO x (`id` U) AS SELECT 1",
            "CREATE MATERIALIZED VIEW IF NOT EXISTS `m`.`series` ON CLUSTER `c` TO x (`id` U) AS SELECT 1",
        ),
        (
            "CREATE VIEW m.`a\\`b` (`id` UInt64) AS SELECT 1",
            "CREATE VIEW IF NOT EXISTS `m`.`series` ON CLUSTER `c` (`id` UInt64) AS SELECT 1",
        ),
        (
            "CREATE MATERIALIZED VIEW m.v TO x (`id` U) DEFINER = `a b` SQL SECURITY DEFINER AS SELECT 1",
            "CREATE MATERIALIZED VIEW IF NOT EXISTS `m`.`series` ON CLUSTER `c` TO x (`id` U) AS SELECT 1",
        ),
        ("CREATE DICTIONARY m.d (id UInt64)", ""),
    ],
)
def test_a_node_gets_the_definition_of_another(definition: str, text: str) -> None:
    assert copied(definition, "m", "series", " ON CLUSTER `c`") == text


def test_statements_without_the_codec_alp_are_those_of_such_a_layout() -> None:
    plain = [one.text for one in statements(Layout(alp=False))]
    assert [without_alp(one.text) for one in statements(Layout())] == plain
    assert not any("ALP" in text for text in plain)


def test_clusters_and_databases_on_one_keeper_have_paths_of_their_own() -> None:
    """Names may have any letter; a macro among them is none."""
    layouts = [Layout(d, c) for d in ("m", "a/b", "{shard}") for c in ("main", "a/b", "other")]
    paths = [
        one.text.partition("MergeTree('")[2].partition("'")[0]
        for layout in layouts
        for one in statements(layout)
        if "ENGINE = Replicated" in one.text
    ]
    assert len(set(paths)) == len(paths)
    assert all(path.count("{shard}") == 1 and path.count("/") == 6 for path in paths)
