"""A new function over range vectors is one file: parser, planner, readers and documents ask its record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.markdown import ROOT


def test_a_range_function_is_one_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.added_function", str(tmp_path / "chdb")],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
