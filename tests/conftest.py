"""Fixtures that every kind of test may use."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

# Tests start hundreds of processes and import 600 modules of tests: each is compiled once, not each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest_plugins = [
    "tests.support.repeated_examples",
    "tests.support.logging_state",
    "tests.support.memory_folder",
    "tests.support.failure_summary",
    "tests.support.chdb",
    "tests.support.redis_server",
]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector from the objects of all tests, a million: they live until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


#: Folders of tests that mostly wait: for processes, for the end of a bucket, for a restart.
WAITING: Final = frozenset({"e2e", "faults"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort files so that all CPUs have work until the end.

    Files that have a test marked `long` are first: at the end, other workers would wait for it. The others
    are spread evenly, those that wait among those that compute.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    long = {path for path, tests in files.items() if any(t.get_closest_marker("long") for t in tests)}
    waiting = [path for path in files if WAITING.intersection(path.parts)]
    computing = [path for path in files if path not in waiting]
    place = {path: (i + 0.5) / len(kind) for kind in (waiting, computing) for i, path in enumerate(kind)}
    order = sorted(files, key=lambda path: (path not in long, place[path]))
    items[:] = [item for path in order for item in files[path]]


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    """Remove a developer's METERHOUSE_... variables, which must not change the tests."""
    for name in [n for n in os.environ if n.startswith("METERHOUSE_")]:
        del os.environ[name]


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A run in the background ignores SIGINT, and so would the processes that tests send it to.
    signal.signal(signal.SIGINT, signal.default_int_handler)
