"""Temporary files of tests in memory (/dev/shm) where it has room: a disk's fsync takes milliseconds.

Most tests write tables, journals or spools, and each waits for many fsyncs. `--basetemp` overrides it.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final

import pytest

_SHM: Final = Path("/dev/shm")
_NAME: Final = f"meterhouse-tests-{os.getuid()}"
#: Free bytes that a run of all tests must find: it takes about a third of them.
MIN_FREE_BYTES: Final = 3 << 30


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the folder, before pytest makes its own. Workers of xdist are told theirs."""
    if hasattr(config, "workerinput") or config.option.basetemp is not None or not _has_room():
        return
    _sweep()
    config.option.basetemp = str(_SHM / f"{_NAME}-{os.getpid()}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder: memory must not fill up. A failed test is run again with `--basetemp`."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(_SHM / f"{_NAME}-{os.getpid()}", ignore_errors=True)


def _has_room() -> bool:
    if not os.access(_SHM, os.W_OK):
        return False
    available = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = min(shutil.disk_usage(_SHM).free, int(available[1]) * 1024 // 2 if available else 0)
    return free >= MIN_FREE_BYTES


def _sweep() -> None:
    """Remove folders of runs that were killed."""
    for folder in _SHM.glob(f"{_NAME}-*"):
        pid = folder.name.rpartition("-")[2]
        if not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)
