"""Writing through Distributed tables: the same rows once, as on a single node."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_batch_written_again_through_distributed_tables_counts_once(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.integration.indexer_cluster", str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "counters": dict.fromkeys(("10s", "60s", "1h", "1d"), 100.0),
        "members": 30,
        "series": 101,
        "tags": 100,
    }
