"""Commands: the libraries that they load, and a server that does not answer."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import meterhouse

SERVERS = ("aiohttp", "chdb", "clickhouse_connect", "numpy", "re2", "redis", "uvloop")


#: Modules that an indexer without Redis and streams does not need: a restart is an outage, and most of it is
#: imports.
UNUSED = (
    "chdb", "confluent_kafka", "indexer.diagnosis", "indexer.intern.redis_cache", "indexer.streams.consumer",
    "pandas", "pyarrow", "redis", "shim",
)  # fmt: skip


@pytest.mark.parametrize(
    "command", ["agent", "backfill", "check-config", "demo", "explain", "indexer", "query"]
)
def test_light_commands_load_no_server_library(command: str) -> None:
    """The indexer's own module, too: it listens before all others are imported."""
    assert loaded(meterhouse.COMMANDS[command][0], among=SERVERS) == []


def test_a_start_of_the_indexer_imports_nothing_that_it_does_not_need() -> None:
    assert loaded("indexer.tables_ready", "indexer.write.journal_file", "indexer.run", among=UNUSED) == []


def loaded(*names: str, among: Sequence[str]) -> list[str]:
    """Return which modules of `among` the import of `names` loads, in a process of its own."""
    script = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print(*(name for name in {among!r} if name in sys.modules))"
    )
    root = Path(meterhouse.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("collected", [True, False])
def test_a_command_leaves_the_garbage_collector_as_it_was(
    collected: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    set_back = gc.enable if gc.isenabled() else gc.disable
    (gc.enable if collected else gc.disable)()
    try:
        frozen = [_help_frozen(capsys) for _ in range(2)]
        assert gc.isenabled() == collected
    finally:
        set_back()
    assert frozen[0] > 0
    assert frozen[1] <= frozen[0], "what is garbage at a later command would never be collected"


def _help_frozen(capsys: pytest.CaptureFixture[str]) -> int:
    """Print the help of a command; return how many objects are never looked at again."""
    with pytest.raises(SystemExit):
        meterhouse.main(["indexer", "--help"])
    assert "usage: meterhouse indexer" in capsys.readouterr().out
    return gc.get_freeze_count()


def test_query_names_the_server_it_cannot_reach(capsys: pytest.CaptureFixture[str]) -> None:
    assert meterhouse.main(["query", "1+1", "--url", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr().err
    assert "http://127.0.0.1:9" in said
    assert said.count("\n") == 1
    assert meterhouse.main(["query", "1+1", "--url", "file:///etc/passwd"]) == 1
