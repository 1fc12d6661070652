"""Commands: the libraries that they load, and a server that does not answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import meterhouse

SERVERS = ("aiohttp", "chdb", "clickhouse_connect", "numpy", "re2", "redis", "uvloop")


@pytest.mark.parametrize("command", ["agent", "backfill", "check-config", "demo", "query", "explain"])
def test_light_commands_load_no_server_library(command: str) -> None:
    script = (
        "import sys, importlib, meterhouse\n"
        f"importlib.import_module(meterhouse.COMMANDS[{command!r}][0])\n"
        f"found = [m for m in {SERVERS!r} if m in sys.modules]\n"
        "sys.exit(f'loaded {found}' if found else 0)"
    )
    root = Path(meterhouse.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_query_names_the_server_it_cannot_reach(capsys: pytest.CaptureFixture[str]) -> None:
    assert meterhouse.main(["query", "1+1", "--url", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr().err
    assert "http://127.0.0.1:9" in said
    assert said.count("\n") == 1
    assert meterhouse.main(["query", "1+1", "--url", "file:///etc/passwd"]) == 1
