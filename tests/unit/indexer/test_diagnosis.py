"""The judges of `meterhouse doctor`, with rows as a server's system tables have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from indexer.clickhouse.schema.migrate import MIGRATIONS
from indexer.diagnosis.check import CheckResult, DoctorCheck, Surroundings
from indexer.diagnosis.cluster_checks import CLUSTER
from indexer.diagnosis.right_checks import indexer_rights, shim_rights
from indexer.diagnosis.server_checks import LONGEST, PROFILE, READS, SERVER, WRITES
from indexer.diagnosis.table_checks import TABLES, wanted_tables

NOW_MS = 1_700_000_000_000
ONE = Surroundings("m", None, NOW_MS)
MANY = Surroundings("m", "main", NOW_MS)
RIGHTS = (*indexer_rights("m", cluster=True), *shim_rights("m"))
CHECKS = {one.name: one for one in (*SERVER, WRITES, READS, PROFILE, LONGEST, *RIGHTS, *TABLES, *CLUSTER)}
VERSIONS = [(one.version, one.name) for one in MIGRATIONS]
LATER = (99, "hashes of 128 bits (needs Meterhouse 9.1.0)")


def _made(around: Surroundings, blocks: int | None = None) -> list[tuple[str, str]]:
    """Return rows of system.tables; `blocks` instead of the windows' own."""
    return [
        (
            name,
            ", ".join(f"{setting} = {value if blocks is None else blocks}" for setting, value in of.items()),
        )
        for name, of in wanted_tables(around).items()
    ]


PASSES: Sequence[tuple[str, Surroundings, Sequence[tuple[Any, ...]], str]] = (
    ("version", ONE, [("26.9.1.1",)], "26.9.1.1"),
    (
        "features",
        ONE,
        [("deduplicate_blocks_in_dependent_materialized_views",), ("insert_deduplication_token",)],
        "no codec ALP",
    ),
    ("limits", ONE, [("max_query_size", "262144"), ("http_max_field_value_size", "0")], "as large"),
    ("clock", ONE, [(NOW_MS - 1_500,)], "1.5 s after"),
    (
        "disks",
        ONE,
        [("default", 50 << 30, 100 << 30, 0, 0), ("s3", 1 << 63, 1 << 63, 0, 0)],
        "50% of 100 GiB",
    ),
    ("may write", ONE, [("0",)], "readonly = 0"),
    ("may send settings", ONE, [("2",)], "readonly = 2"),
    ("profile", ONE, [("limit", "9", 0)], "limit = 9 (expected 0)"),
    ("profile", ONE, [("readonly", "1", 1), ("insert_deduplicate", "0", 1)], "as expected"),
    ("ends statements", MANY, [(1,)], "of all nodes"),
    ("longest statement", ONE, [(None,)], "as long as queries"),
    ("longest statement", ONE, [("600",)], "as long as queries"),
    ("right SELECT ON system.parts", ONE, [(1,)], "granted on system.parts"),
    ("right INSERT", ONE, [(1,)], "granted on `m`.*"),
    ("database", ONE, [("Atomic",)], "Atomic"),
    ("migrations", ONE, VERSIONS, f"version {MIGRATIONS[-1].version}"),
    ("migrations", ONE, [*VERSIONS, (99, "cells by hour")], "version 99"),
    ("tables", ONE, _made(ONE), "all "),
    ("deduplication windows", ONE, _made(ONE), "tables remember inserts"),
    ("deduplication windows", MANY, _made(MANY, 10**9), "tables remember inserts"),
    ("parts", ONE, [("series", 12)], "at most 12"),
    ("mutations", ONE, [], "none fails"),
    ("macros", MANY, [("a", "01", "a", 2), ("b", "01", "b", 2)], "2 nodes, 1 shards"),
    ("cluster", MANY, [(1, "a", 1, 0), (2, "b", 1, 0)], "2 shards, 2 replicas"),
    ("nodes", MANY, [("a", 90, 2), ("b", 90, 2)], "2 nodes have 90 tables each"),
    ("Keeper", MANY, [("keeper",)], "it answers"),
    ("replicas", MANY, [("series_local", 0, 0, 1, 2, 2, "")], "1 tables"),
    ("queues of Distributed tables", MANY, [("series", 0, 0, 3)], "3 files wait"),
)
FAILS: Sequence[tuple[str, Surroundings, Sequence[tuple[Any, ...]], str]] = (
    ("features", ONE, [("insert_deduplication_token",)], "no deduplicate_blocks_in_dependent"),
    ("limits", ONE, [("max_query_size", "1000")], "max_query_size = 1000"),
    ("clock", ONE, [(NOW_MS + 60_000,)], "60.0 s ahead of"),
    ("disks", ONE, [("default", 1, 100 << 30, 0, 0)], "default: 0% of 100 GiB"),
    ("disks", ONE, [("d1", 50, 100, 1, 0), ("d2", 50, 100, 0, 1)], "d1 is broken, d2 is read-only"),
    ("may write", ONE, [("2",)], "readonly = 2"),
    ("longest statement", ONE, [("60",)], "max_execution_time may be at most 60: the shim sends up to 120"),
    ("profile", ONE, [("join_use_nulls", "1", 1)], "fixed by the profile: join_use_nulls = 1 (expected 0)"),
    (
        "profile",
        ONE,
        [("join_use_nulls", "1", 1), ("readonly", "1", 1), ("insert_deduplicate", "0", 1)],
        "readonly = 1, and the profile has: join_use_nulls = 1 (expected 0)",
    ),
    ("right CREATE TEMPORARY TABLE", ONE, [(0,)], "not granted on *.*"),
    ("right SELECT ON system.processes", ONE, [(0,)], "not granted on system.processes"),
    ("database", ONE, [], "there is no database m"),
    ("database", ONE, [("Memory",)], "its engine is Memory"),
    ("nodes", MANY, [("a", 90, 3), ("b", 90, 3)], "2 of 3 answer and have tables"),
    ("nodes", MANY, [("a", 90, 2), ("b", 89, 2)], "fewer than 90 tables: b"),
    ("nodes", MANY, [], "0 of 0 answer"),
    ("database", MANY, [("Replicated",)], "takes no ON CLUSTER and no paths"),
    ("migrations", ONE, [*VERSIONS, LATER], "expected 9.1.0 or later, which migration 99 needs"),
    ("migrations", ONE, VERSIONS[:-1], f"migration {MIGRATIONS[-1].version} is missing"),
    ("tables", MANY, _made(MANY)[1:], "this node lacks schema_migrations_local"),
    ("deduplication windows", ONE, _made(ONE, 100), "too small in "),
    ("deduplication windows", MANY, [(n, "") for n, _ in _made(MANY)], "too small in "),
    ("parts", ONE, [("series", 3_000)], "at most 3000"),
    ("mutations", ONE, [("series", "no such column")], "not done in series: no such column"),
    ("macros", MANY, [("a", "01", "a", 2), ("b", "01", "", 2)], "no macro replica: b"),
    ("macros", MANY, [("b", "01", "a", 2), ("a", "01", "a", 2)], "the same shard 01 and replica a: a, b"),
    ("macros", MANY, [("a", "01", "a", 2)], "1 of 2 nodes answer and have macros"),
    ("macros", MANY, [], "0 of 0 nodes"),
    ("cluster", MANY, [], "there is no cluster main"),
    ("cluster", MANY, [(1, "a", 0, 0), (1, "b", 0, 0)], "internal_replication is false for the shards 1"),
    ("cluster", MANY, [(1, "a", 1, 0), (1, "b", 1, 7)], "errors of late: b"),
    ("Keeper", MANY, [], "it has no root"),
    ("replicas", MANY, [("t", 1, 0, 0, 2, 2, "Session expired")], "t is read-only (Session expired)"),
    ("replicas", MANY, [("t", 0, 0, 0, 1, 2, "")], "t has 1 of 2 replicas"),
    ("replicas", MANY, [("t", 0, 0, 900, 2, 2, "")], "t is 900 s late"),
    ("replicas", MANY, [], "no replicated tables"),
    ("queues of Distributed tables", MANY, [("series", 2, 0, 3)], "cannot be sent: series"),
)
SKIPS: Sequence[tuple[str, Surroundings, Sequence[tuple[Any, ...]], str]] = (
    ("may send settings", ONE, [("1",)], "readonly = 1: no settings are sent, and long lists of ids are"),
    ("version", ONE, [("25.3.2.1",)], "tested with 26.9"),
    ("ends statements", MANY, [(0,)], "of the node that it asks; those of others end at their deadline"),
    ("database", ONE, [("Replicated",)], "its DDL runs on all replicas; not tested"),
    ("database", ONE, [("Shared",)], "ClickHouse Cloud"),
    ("deduplication windows", ONE, [], "no such tables yet"),
)
CASES = [
    (*case, result)
    for result, cases in (
        (CheckResult.PASSED, PASSES),
        (CheckResult.FAILED, FAILS),
        (CheckResult.SKIPPED, SKIPS),
    )
    for case in cases
]


@pytest.mark.parametrize(("name", "around", "rows", "reason", "result"), CASES)
def test_judges(
    name: str, around: Surroundings, rows: Sequence[tuple[Any, ...]], reason: str, result: CheckResult
) -> None:
    judgement = CHECKS[name].judge(rows, around)
    assert judgement.result is result, judgement
    assert reason in judgement.reason


def test_every_kind_of_check_is_judged_here() -> None:
    judged = {name for name, *_ in CASES}
    kinds = {name for name in CHECKS if not name.startswith("right ")}
    assert kinds <= judged
    assert all(_advises(one) for one in CHECKS.values() if one.name not in ("version", "ends statements"))


def _advises(check: DoctorCheck) -> bool:
    return check.advice.endswith(".") or check.advice.endswith(")")
