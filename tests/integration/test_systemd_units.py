"""deploy/systemd: systemd accepts the units, they are hardened, and their settings are ours."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import meterhouse
from agent.cli.common import read_settings
from shim.cli.serve import File

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))
PROGRAM = "/opt/meterhouse/bin/meterhouse"
_MDWE_SET, _MDWE_NO_EXEC_GAIN = 65, 1


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `systemd-analyze`."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("SKIPPED: no systemd-analyze here (Debian's package systemd): units are not examined")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(params=UNITS, ids=lambda path: path.stem)
def unit(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_there_is_a_unit_for_each_part() -> None:
    names = ["meterhouse-agent", "meterhouse-indexer", "meterhouse-shim", "meterhouse"]
    assert [unit.stem for unit in UNITS] == names


def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(PROGRAM, sys.executable))
    done = analyze("verify", "--man=no", str(copy))
    assert (done.returncode, unit.stem in done.stderr) == (0, False), done.stderr


def test_the_unit_is_hardened(unit: Path) -> None:
    """systemd's own measure: 10 is a service without any protection."""
    done = analyze("security", "--offline=yes", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found
    assert float(found[1]) <= 2.0, done.stdout


def test_command_and_settings_are_ours(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    command = re.search(rf"^ExecStart={re.escape(PROGRAM)} (\S+)", text, re.MULTILINE)
    assert command
    assert command[1] in meterhouse.COMMANDS
    secret = tmp_path / "dsn"
    secret.write_text("http://u:p@clickhouse:8123/meterhouse")
    values = dict(re.findall(r"^#?Environment=(\w+)=(\S+)$", text, re.MULTILINE))
    settings = read_settings(
        File, None, {k: str(secret) if v.startswith("%d/") else v for k, v in values.items()}
    )
    if command[1] in ("indexer", "shim"):
        assert getattr(settings, command[1]).dsn == secret.read_text()
    directory = re.search(r"^StateDirectory=(\S+)$", text, re.MULTILINE)
    for value in values.values():
        assert not value.startswith("%S/") or (directory and value.startswith(f"%S/{directory[1]}/"))
    credentials = re.findall(r"^#?LoadCredential=(\w+):", text, re.MULTILINE)
    assert {v for v in values.values() if v.startswith("%d/")} == {f"%d/{name}" for name in credentials}


def test_an_embedded_clickhouse_may_write_machine_code(tmp_path: Path) -> None:
    """Under MemoryDenyWriteExecute its compiler of expressions fails (code 445): that unit is without."""
    script = (
        "import ctypes, sys, clickhouse_connect\n"
        f"if ctypes.CDLL(None).prctl({_MDWE_SET}, {_MDWE_NO_EXEC_GAIN}, 0, 0, 0): sys.exit(77)\n"
        "client = clickhouse_connect.get_client(interface='chdb', path=sys.argv[1])\n"
        "for _ in range(3):\n"
        "    client.query('SELECT sum(number * 3 + number % 7 - 2 * (number + 1)) FROM numbers(1000)',\n"
        "                 settings={'compile_expressions': 1, 'min_count_to_compile_expression': 0})\n"
    )
    for stem, expected in {"meterhouse": "no", "meterhouse-agent": "yes"}.items():
        (path,) = [u for u in UNITS if u.stem == stem]
        assert f"\nMemoryDenyWriteExecute={expected}\n" in path.read_text()
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "chdb")], capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        pytest.skip("SKIPPED: this kernel has no PR_SET_MDWE (Linux 6.3)")
    assert "CANNOT_MPROTECT" in done.stderr
