"""Replicated tables over a real ZooKeeper: their paths and macros, and a second replica of each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from indexer.clickhouse.schema import Layout, statements
from indexer.clickhouse.schema.migrate import MIGRATIONS
from tests.support import zookeeper

ROOT = Path(__file__).parents[2]
REPLICATED = sorted(s.table for s in statements(Layout(cluster="prod")) if "ENGINE = Replicated" in s.text)


def _made(directory: Path, port: int, replica: str, definitions: dict[str, str] | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.integration.keeper_replica", str(directory), str(port), replica]
    given = json.dumps(definitions) if definitions is not None else ""
    done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, timeout=300)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(bool(zookeeper.lacking()), reason=f"not installed: {zookeeper.lacking()}")
def test_a_second_replica_joins_with_the_definitions_of_the_first(tmp_path: Path) -> None:
    """Our own statements, with another TTL, would be refused: tables of one path must be equal."""
    with zookeeper.running(tmp_path / "zookeeper") as port:
        first = _made(tmp_path, port, "a", None)
        second = _made(tmp_path, port, "b", first["definitions"])
        old = {
            name: text.replace("'/clickhouse/tables/prod/", "'/clickhouse/tables/")
            for name, text in first["definitions"].items()
        }
        of_before = _made(tmp_path, port, "c", old)
    paths = {name: f"/clickhouse/tables/prod/01/meterhouse/{name}" for name in REPLICATED}
    assert first["replicas"] == [[name, paths[name], "a", 1] for name in REPLICATED]
    assert second["replicas"] == [[name, paths[name], "b", 2] for name in REPLICATED]
    assert second["refused"] == "METADATA_MISMATCH"
    assert first["version"] == second["version"] == MIGRATIONS[-1].version
    kept = [path for _, path, *_ in of_before["replicas"]]
    assert kept == [path.replace("/prod/", "/") for path in paths.values()]
    assert of_before["definitions"].keys() == first["definitions"].keys()
