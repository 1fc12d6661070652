"""The spool's directory belongs to one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.runtime.dir_lock import DirInUseError
from tests.support.markdown import ROOT
from tests.unit.agent.test_spool_backlog import backlog


def test_a_directory_is_of_one_agent(tmp_path: Path) -> None:
    of = backlog(tmp_path)
    code = f"""
from pathlib import Path
from agent.forward.spool.backlog import Backlog, LostFrames
Backlog(Path({str(tmp_path)!r}), 10_000, 60.0, lambda: 0)
"""
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert f") uses {tmp_path}" in other.stderr
    assert "another meterhouse agent (pid " in other.stderr
    with pytest.raises(DirInUseError, match=rf"pid \d+\) uses {tmp_path}"):
        backlog(tmp_path)
    of.close()
    backlog(tmp_path).close()
