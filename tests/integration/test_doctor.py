"""`meterhouse doctor` over a server and over embedded data: before the tables are made, and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing

import pytest

import meterhouse
from indexer.clickhouse.store import Store, open_store
from indexer.diagnosis.self_test import RESERVED
from tests.support.redis_server import RedisServer

STEPS = ("catalog", "counters", "gauges", "distributions", "sets", "interrupted", "removed")


def _results(capsys: pytest.CaptureFixture[str], *arguments: str) -> Mapping[str, str]:
    code = meterhouse.main(["doctor", "--json", *arguments])
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert code == any(one["result"] == "failed" for one in checks)
    return {one["check"]: one["result"] for one in checks if one["check"] != "disks"}


def _words(text: str) -> str:
    """Return a table's text without the spaces that align it."""
    return " ".join(text.split())


@pytest.mark.parametrize("fixture", ["chdb_dsn", "http_dsn"])
def test_before_and_after_the_tables_are_made(
    fixture: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every statement is one that the engine takes: `failed` is for the tables alone.

    How full this machine's disks are is not under test.
    """
    dsn: str = request.getfixturevalue(fixture)
    given = ("--dsn", dsn, "--shim-dsn", dsn)
    before = _results(capsys, *given)
    assert {name for name, result in before.items() if result == "failed"} == {
        *("database", "migrations", "tables")
    }
    assert meterhouse.main(["schema", "apply", "--dsn", dsn]) == 0
    capsys.readouterr()
    after = _results(capsys, *given)
    assert "failed" not in after.values()
    skipped = {name for name, result in after.items() if result == "skipped"}
    assert skipped == {
        *("macros", "cluster", "nodes", "Keeper", "replicas", "queues of Distributed tables", "Redis"),
        "shim: ends statements",
    }
    assert after["deduplication windows"] == after["shim: right SELECT"] == "passed"


def test_a_cluster_that_is_not_there(http_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert meterhouse.main(["doctor", "--dsn", http_dsn, "--cluster", "main"]) == 1
    said = _words(capsys.readouterr().out)
    assert "FAILED cluster there is no cluster main" in said
    assert "- Keeper: Configure <zookeeper> on every node" in said.partition("To do:")[2]


def test_redis_is_asked(
    chdb_dsn: str,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The one of the settings: it answers, and then it is stopped."""
    monkeypatch.setenv("METERHOUSE_INDEXER__REDIS_URL", redis_server.url)
    assert _results(capsys, "--dsn", chdb_dsn)["Redis"] == "passed"
    redis_server.stop()
    assert _results(capsys, "--dsn", chdb_dsn)["Redis"] == "failed"


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert meterhouse.main(["doctor", "--dsn", "http://127.0.0.1:1/x"]) == 2
    assert "ClickHouse at 127.0.0.1:1 cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("fixture", ["migrated_dsn", "migrated_http_dsn"])
def test_rows_are_written_twice_and_removed(
    fixture: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each INSERT counts once: repeated, after a kill of its sender, and in data that was closed."""
    dsn: str = request.getfixturevalue(fixture)
    found = _results(capsys, "--write", "--dsn", dsn)
    assert {name: found[f"write: {name}"] for name in STEPS} == dict.fromkeys(STEPS, "passed")
    assert found["write: shards"] == "skipped"
    with closing(open_store(dsn, pool=1)) as store:
        assert _left(store) == 0


def test_a_table_that_forgets_inserts_is_named(
    migrated_http_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(open_store(migrated_http_dsn, pool=1)) as store:
        store.command("ALTER TABLE gauges_60s MODIFY SETTING non_replicated_deduplication_window = 0")
        store.command("DROP VIEW incoming_sets_1h_view SYNC")
        assert meterhouse.main(["doctor", "--write", "--dsn", migrated_http_dsn]) == 1
        said, _, to_do = _words(capsys.readouterr().out).partition("To do:")
        assert "FAILED write: gauges repeated INSERTs count twice: gauges_60s (512" in said
        assert "FAILED write: sets not as written: sets_1h (0 for 256)" in said
        assert "passed write: counters" in said
        assert "passed write: removed" in said
        assert "MODIFY SETTING non_replicated_deduplication_window = 100000" in to_do
        assert _left(store) == 0


def _left(store: Store) -> int:
    tables = (f"{kind}_{g}" for kind in ("counters", "gauges", "sets") for g in ("10s", "60s", "1h", "1d"))
    counts = (
        f"SELECT count() AS c FROM {t} WHERE org_id = {RESERVED}" for t in ("series", "strings", *tables)
    )
    ((left,),) = store.rows(f"SELECT sum(c) FROM ({' UNION ALL '.join(counts)})")
    return int(left)
