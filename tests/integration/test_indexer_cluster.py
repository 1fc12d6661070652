"""A cluster: a start issues ON CLUSTER for missing tables alone, and rows written twice count once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_starts_with_a_dead_replica_and_a_batch_written_twice(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.integration.indexer_cluster", str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["written"] == {
        "counters": dict.fromkeys(("10s", "60s", "1h", "1d"), 100.0),
        "members": 30,
        "series": 101,
        "tags": 100,
    }
    assert found["deleted"] == {
        "result": [40, 160, 86_400],  # whole days, as others write
        "left": dict.fromkeys(("10s", "60s", "1h", "1d"), 60.0),
        "series": 61,
        "issued": [*(f"counters_{g}_local" for g in ("10s", "1d", "1h", "60s")), "series_local"],
        "modes": ["null_status_on_timeout"],
    }
    starts = found["starts"]
    assert starts.pop("tables") > 50
    assert starts == {
        "waits": [1],
        "modes": ["null_status_on_timeout"],
        "soon": True,
        "again": [],
        "completed": 3,
        "names": ["sets_1d_local", "incoming_sets_1d_view_local", "subscriptions"],
        "then": [],
        "copied": True,
        "by_itself": True,
        "nodes": "1 of 2 answer and have tables",
        "killed": [["KILL QUERY ON CLUSTER `prod` W", {"distributed_ddl_task_timeout": 0}]],
    }
