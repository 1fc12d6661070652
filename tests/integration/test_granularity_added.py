"""A granularity is one record: one more is stored and read without any other change."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_granularity_that_is_registered_on_the_fly_is_stored_and_read(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.extra_granularity", f"chdb://{tmp_path}/data"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "default_days": 3_650,
        "rows": 8,
        "values": [[60.0, 60.0, 60.0, 60.0]],
    }
