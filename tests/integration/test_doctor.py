"""`meterhouse doctor` over a server and over embedded data: before the tables are made, and after."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

import meterhouse


def _results(capsys: pytest.CaptureFixture[str], *arguments: str) -> Mapping[str, str]:
    code = meterhouse.main(["doctor", "--json", *arguments])
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert code == any(one["result"] == "failed" for one in checks)
    return {one["check"]: one["result"] for one in checks if one["check"] != "disks"}


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
    assert skipped == {*("macros", "cluster", "Keeper", "replicas", "queues of Distributed tables", "Redis")}
    assert after["deduplication windows"] == after["shim: right SELECT"] == "passed"


def test_a_cluster_that_is_not_there(http_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert meterhouse.main(["doctor", "--dsn", http_dsn, "--cluster", "main"]) == 1
    said = capsys.readouterr().out
    assert "FAILED   cluster                       there is no cluster main" in said
    assert "- Keeper: Configure <zookeeper> on every node" in said.partition("To do:")[2]


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert meterhouse.main(["doctor", "--dsn", "http://127.0.0.1:1/x"]) == 2
    assert "ClickHouse at 127.0.0.1:1 cannot be reached" in capsys.readouterr().err
