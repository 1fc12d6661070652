"""The mistakes of a newcomer, and the answers: one case for each entry of ../shared/cases/newcomer.json.

An entry says the command, the answer at the time of its report ("today"), and the answer that is wanted.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from indexer.access.grants import UnauthenticatedError, checked
from indexer.status import Status
from shim.allinone.status_line import Scraped, StatusNumbers, fitted, parts, scrape
from shim.cli.output import answer
from tests.e2e.product import PROGRAM, ROOT, VISIBLE_S, Starter, Up, get, wait_for
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e

TABLE: Final = ROOT.parent / "shared" / "cases" / "newcomer.json"
Case = Callable[["Shell"], None]
CASES: Final[dict[str, Case]] = {}


class Shell:
    """Runs commands as a newcomer does; `up` is the product that runs meanwhile."""

    def __init__(self, up: Up, start: Starter) -> None:
        self.up = up
        self.start = start

    def __call__(
        self,
        *arguments: str,
        code: int,
        program: tuple[str, ...] = PROGRAM,
        environ: Mapping[str, str] | None = None,
    ) -> str:
        """Return the output of a command that must end with `code` and without a traceback."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("METERHOUSE_")}
        done = subprocess.run(
            [*program, *arguments],
            cwd=self.start.folder,
            env={**clean, "COLUMNS": "300", **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        assert done.returncode == code, said
        return said


def case(do: str) -> Callable[[Case], Case]:
    """Register the case of the entry that begins with `do`."""

    def register(function: Case) -> Case:
        CASES[do] = function
        return function

    return register


def entries() -> list[str]:
    """Return the commands of the table; none where it is not there."""
    return [entry["do"] for entry in json.loads(TABLE.read_text())] if TABLE.exists() else []


@case("meterhouse demo --seconds 1 --json")
def _(run: Shell) -> None:
    said = run("demo", "--seconds", "1", "--json", "/nonexistent/x.json", code=2)
    assert said == "meterhouse demo: --json /nonexistent/x.json: No such file or directory\n"


@case("Ctrl-C while `up`")
def _(run: Shell) -> None:
    def interrupted() -> bool:
        """Return whether it was still starting; on a busy machine the interrupt may come later."""
        up = run.start(
            *("up", "--statsd", "127.0.0.1:0", "--indexer", "127.0.0.1:0", "--api", "127.0.0.1:0"),
            *("--ops", "127.0.0.1:0"),
        )
        up.find("meterhouse: starting, opens ")
        up.interrupt()
        late = up.wait() == 0 and "meterhouse is up" in up.output
        assert late or up.wait() == 130, up.output
        assert "Traceback" not in up.output
        return not late

    wait_for(interrupted, "it is interrupted while it starts", VISIBLE_S)
    for command, begun in ((("check-config", "--lines", "-"), _reads), (_QUERY, _asks)):
        assert begun(run.start.folder, command) == (130, "")


_QUERY: Final = ("query", "1", "--url")


def _reads(folder: Path, command: tuple[str, ...]) -> tuple[int, str]:
    """Interrupt a command that waits for its standard input; return its exit code and output."""
    out = subprocess.PIPE
    with subprocess.Popen(
        [*PROGRAM, *command], cwd=folder, stdin=out, stdout=out, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"a:1|c\n" * 50_000)  # more than a pipe holds: it reads when this returns
        process.stdin.flush()
        state = Path(f"/proc/{process.pid}/stat")
        wait_for(lambda: state.read_text().rpartition(")")[2].split()[0] == "S", "it waits for more", 180)
        process.send_signal(signal.SIGINT)
        return process.wait(120), process.stdout.read().decode()


def _asks(folder: Path, command: tuple[str, ...]) -> tuple[int, str]:
    """Interrupt a query that waits for its answer; return its exit code and output."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        with subprocess.Popen(
            [*PROGRAM, *command, f"http://127.0.0.1:{server.getsockname()[1]}"],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            with server.accept()[0]:
                process.send_signal(signal.SIGINT)
                return process.wait(120), process.stdout.read().decode()


@case("a second `up` on one data directory")
def _(run: Shell) -> None:
    data = str(run.up.log.parent / "data")
    said = run("up", "--data", data, "--statsd", "127.0.0.1:0", "--indexer", "127.0.0.1:0", "--api",
               "127.0.0.1:0", "--ops", "127.0.0.1:0", code=1)  # fmt: skip
    assert f"another meterhouse (pid {run.up.pid}) uses {data}/chdb" in said


@case("`shim` on a chdb that `up` has open")
def _(run: Shell) -> None:
    data = run.up.log.parent / "data" / "chdb"
    environ = {"METERHOUSE_SHIM__DSN": f"chdb://{data}", "METERHOUSE_SHIM__LISTEN": "127.0.0.1:0"}
    said = run("shim", code=1, environ=environ)
    assert f"another meterhouse (pid {run.up.pid}) uses {data}" in said
    assert "the embedded store allows one process: use `meterhouse up`" in said


@case("`indexer` with no ClickHouse")
def _(run: Shell) -> None:
    port = free_port()
    indexer = run.start(
        "indexer",
        environ={"METERHOUSE_INDEXER__DSN": f"http://127.0.0.1:{port}/db",
                 "METERHOUSE_INDEXER__LISTEN": "127.0.0.1:0"},
    )  # fmt: skip
    indexer.find(
        rf"waiting_for_store .*again_in_s=0.1 text=ClickHouse at 127.0.0.1:{port} cannot be reached:"
        " connection refused"
    )


@case("`query --url` at the agent's port")
def _(run: Shell) -> None:
    said = run("query", "1", "--url", run.up.agent, code=1)
    assert "this is not a Prometheus API (HTTP 405): try the API's port, 9090 by default" in said


@case("`query --url http://H:9090/api/v1`")
def _(run: Shell) -> None:
    said = run("query", "1", "--url", f"{run.up.api.url}/api/v1", code=1)
    assert f"expected the base URL, without /api/v1: {run.up.api.url}\n" in said


@case("`query --url https://` at an http port")
def _(run: Shell) -> None:
    said = run("query", "1", "--url", run.up.api.url.replace("http", "https"), code=1)
    assert f"the server speaks http, not https: try {run.up.api.url}" in said


@case("query 'shop.requests'")
def _(run: Shell) -> None:
    said = run("query", "shop.requests", "--url", run.up.api.url, code=1)
    assert "parse error: unexpected character: '.'" in said
    assert 'written shop_requests or {"shop.requests"}' in said


@case("--range 1y")
def _(run: Shell) -> None:
    for times in (("--range", "1y"), ("--time", "now-1h"), ("--time", "2026-11-28T10:00:00Z")):
        assert "3" in run("query", "1 + 2", "--url", run.up.api.url, *times, code=0)


@case("--range -5m")
def _(run: Shell) -> None:
    said = run("query", "1", "--range", "-5m", code=2)
    assert "'-5m': expected a duration such as 90s, 5m, 1h30m or 1y" in said


@case("--step 0")
def _(run: Shell) -> None:
    assert "'0': expected a duration above 0" in run("query", "1", "--range", "5m", "--step", "0", code=2)


@case("--header bad")
def _(run: Shell) -> None:
    for bad in ("bad", ":x", "a b: c", "x:"):
        assert "expected NAME:VALUE" in run("query", "1", "--header", bad, code=2)


@case("demo --seconds -1")
def _(run: Shell) -> None:
    for option, value in (("--seconds", "-1"), ("--seconds", "nan"), ("--rate", "0"), ("--rate", "1e9")):
        assert f"argument {option}: '{value}': expected " in run("demo", option, value, code=2)


@case("meterhouse querry")
def _(run: Shell) -> None:
    assert "'querry' is not a command: did you mean query?" in run("querry", code=2)
    for version in ("version", "--version", "-V"):
        assert re.fullmatch(r"meterhouse \d+\.\d+\.\d+\S*\n", run(version, code=0))


@case("two wrong settings in a file")
def _(run: Shell) -> None:
    file = run.start.folder / "m.toml"
    file.write_text("[shim]\nconcurrency = 0\n\n[agent]\nudpp = ':1'\n")
    said = run("check-config", "--config", "m.toml", code=2).splitlines()
    assert [line.partition(": ")[2].partition(": ")[0] for line in sorted(said)] == ["m.toml:2", "m.toml:5"]


@case("mode = ")
def _(run: Shell) -> None:
    (run.start.folder / "m.toml").write_text('[shim.tenancy]\nmode = "tokens"\n')
    assert 'expected "header" or "single" or "token"' in run("shim", "--config", "m.toml", code=2)


@case("two `up`s by flags on other ports")
def _(run: Shell) -> None:
    # The case of a second data directory above starts one with it.
    assert "--ops HOST:PORT" in run("up", "--help", code=0)


@case("demo against other ports than the defaults")
def _(run: Shell) -> None:
    """Paste the printed commands: the demo of the banner, and the first query of the demo."""
    demo = run.up.find(r"Traffic to look at: (.+)\n")[1]
    said = run(*shlex.split(demo), "--seconds", "1", program=(), code=0)
    assert f"to {run.up.udp[0]}:{run.up.udp[1]} over UDP" in said
    query = re.search(r"\n  (.+ query .+)\n", said)
    assert query is not None
    assert f"--url {run.up.api.url}" in query[1]
    wait_for(
        lambda: 'route="/"' in run(*shlex.split(query[1]), program=(), code=0), "the demo's values", VISIBLE_S
    )


@case("a terminal of 50 columns")
def _(run: Shell) -> None:
    with pty_of(50) as (ours, theirs):
        up = run.start(
            *("up", "--statsd", "127.0.0.1:0", "--indexer", "127.0.0.1:0", "--api", "127.0.0.1:0"),
            *("--ops", "127.0.0.1:0"),
            stderr=theirs,
        )
        up.find("Traffic to look at: ")
        said = ""

        def lines() -> list[str] | None:
            nonlocal said
            said += os.read(ours, 65_536).decode()
            return re.findall(r"\r\x1b\[K([^\r\n]+ \| [^\r\n]+)\r", said) or None

        shown = wait_for(lines, "a line of status", 180)
        assert [line for line in shown if len(line) >= 50] == []
        assert shown[0].startswith("0 lines/s | ")


@contextmanager
def pty_of(columns: int) -> Iterator[tuple[int, int]]:
    """Provide a terminal: the end of the person, and the end of the program."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


@case("900 malformed lines")
def _(run: Shell) -> None:
    before = scrape(get(f"{run.up.agent}/metrics")[1].decode()).refused
    run.up.send(["newcomer.x:abc|c"] * 900)
    refused = run.up.find(r"lines_refused lines=(\d+) reason=bad_value example=newcomer\.x:abc\|c\n")
    assert 1 <= int(refused[1]) <= before + 900

    def all_refused() -> Scraped | None:
        now = scrape(get(f"{run.up.agent}/metrics")[1].decode())
        return now if now.refused == before + 900 else None

    counted = wait_for(all_refused, "all lines are refused", VISIBLE_S)
    numbers = StatusNumbers(0.0, 0.0, counted, Status(0, 0, 0.0))
    assert f"{before + 900:,.0f} lines refused (bad_value)" in fitted(parts(numbers, 0.0), 50)


@case("query of 36 series on a terminal")
def _(run: Shell) -> None:
    result = [{"metric": {"n": str(n)}, "values": [[0, str(n)], [10, "1"]]} for n in range(36)]
    said = answer({"resultType": "matrix", "result": result}, 80, draw=True, colour=True)
    assert said.count('{n="') >= 36
    assert "drawn: the first 6 of 36 series" in said


@case("a table of large numbers")
def _(run: Shell) -> None:
    result = [{"metric": {}, "value": [0, value]} for value in ("327196823", "377975123.4")]
    said = answer({"resultType": "vector", "result": result}, 80, draw=False, colour=False)
    assert said.split()[2:] == ["{}", "327196823", "{}", "377975123"]


@case("README's first query a minute after demo has ended")
def _(run: Shell) -> None:
    # The rate is 0 by then. Mean and maximum of the range still show the demo.
    readme = re.search(r"meterhouse (query '.+?' --range 10m)", (ROOT / "README.md").read_text())
    assert readme is not None
    end = int(time.time() // 10 * 10)
    run.up.send(f"shop.requests:5|c|#route:/newcomer|T{end - 20 - i}" for i in range(40))
    run.up.api.wait_until('sum(increase(shop_requests{route="/newcomer"}[2m]))', end, 200)
    asked = (*shlex.split(readme[1]), "--url", run.up.api.url, "--time", str(end + 60))
    row = re.search(r'{route="/newcomer"} +\d+ +[\d.]+ +([\d.]+) +([\d.]+)', run(*asked, code=0))
    assert row is not None
    assert float(row[1]) > 0
    assert float(row[2]) > 0


@case("make run with Python 3.10")
def _(run: Shell) -> None:
    old = run.start.folder / "python3.10"
    old.write_text("#!/bin/sh\necho 3 10\n")
    old.chmod(0o755)
    venv = run.start.folder / "venv"
    said = run("-C", str(ROOT), "run", f"PYTHON={old}", f"VENV={venv}", program=("make",), code=2)
    assert f"Meterhouse needs Python 3.11 or later: {old} is 3.10; set PYTHON=" in said
    assert not venv.exists()


@case("make run without a compiler")
def _(run: Shell) -> None:
    compiled = (str(ROOT / "deploy/locks/compiled"),)
    said = run("/bin/false", program=compiled, code=0)
    assert said.startswith("built without a C compiler: all works, slower; install gcc")
    if list((ROOT / "agent/core/_native").glob("core.*.so")):
        assert (
            run(
                sys.executable,
                program=(str(ROOT / "deploy/locks/compiled"),),
                code=0,
                environ={"PYTHONPATH": str(ROOT)},
            )
            == ""
        )


@case("a wrong token in the shim's data source")
def _(run: Shell) -> None:
    with pytest.raises(UnauthenticatedError, match="not known here: expected one of the settings tokens"):
        checked(None, time.time())


@case("METERHOUSE_SERVICE_HOST")
def _(run: Shell) -> None:
    links = {"METERHOUSE_SERVICE_HOST": "10.0.0.1", "METERHOUSE_PORT_9090_TCP": "tcp://10.0.0.1:9090"}
    assert "all settings are at their defaults" in run("check-config", code=0, environ=links)


@pytest.mark.skipif(not TABLE.exists(), reason=f"{TABLE} is missing: the mistakes are NOT tested")
def test_each_entry_of_the_table_has_a_case() -> None:
    assert [do for do in entries() if not any(do.startswith(begin) for begin in CASES)] == []


@pytest.mark.parametrize("do", entries())
def test_newcomer(do: str, product: Up, start: Starter) -> None:
    (begin,) = [begin for begin in CASES if do.startswith(begin)]
    CASES[begin](Shell(product, start))
