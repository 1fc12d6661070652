"""Processes that tests start: gone and reaped in any case, since one left over fails a later test."""

from __future__ import annotations

import subprocess
from typing import Any


def end(child: subprocess.Popen[Any], deadline_s: float = 180.0) -> None:
    """Ask a process to end. One that does not is killed, and TimeoutExpired is raised."""
    child.terminate()
    try:
        child.wait(deadline_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise
