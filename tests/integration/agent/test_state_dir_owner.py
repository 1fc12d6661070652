"""The state's directory belongs to one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.runtime.state_dir import StateDirError
from tests.unit.agent.test_state_dir import opened


def test_one_agent_at_once(tmp_path: Path) -> None:
    path = tmp_path / "made" / "state"
    directory = opened(path)
    with pytest.raises(
        StateDirError, match=r"agent\.state_dir = '.*/state': another meterhouse agent \(pid \d+\) uses"
    ):
        opened(path)
    code = f"from agent.runtime.state_dir import StateDir; StateDir({str(path)!r})"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 1
    directory.close()
    opened(path).close()
