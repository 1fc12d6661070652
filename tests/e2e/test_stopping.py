"""Stopping, by request and by force: no accepted line is lost, and none is stored twice."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.product import ROOT, Api, Process, Starter, get, send_tcp, wait_for
from tests.support.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LINES: Final = 20_000
#: How long an orphaned agent sends: a start takes long where tests share a busy machine.
PATIENT: Final = {"METERHOUSE_AGENT__FORWARD__DRAIN_S": "300"}


def _lines(n: int, first: int = 0) -> list[str]:
    """Lines of all kinds without |T, so that they are in the open bucket: counters add up to n."""
    return [
        line
        for i in range(first, first + n)
        for line in (f"stop.count:1|c|#k:{i % 50}", f"stop.users:u{i % 700}|s", f"stop.time:0.{i % 9 + 1}|ms")
    ]


def _assert_whole(api: Api, n: int) -> None:
    """All n of each kind are stored, once."""
    now = time.time()
    api.wait_until("sum(increase(stop_count[1h]))", now + 30, n)
    api.wait_until("sum(histogram_count(increase(stop_time[1h])))", now + 30, n)  # perhaps in another frame
    api.wait_until("sum(sum_over_time(stop_users[1h]))", now + 30, min(n, 700))


def test_sigterm_loses_nothing(start: Starter) -> None:
    """Lines of the open bucket are flushed, sent and stored before `up` ends with 0."""
    up = start.up()
    up.send(_lines(LINES))
    assert up.terminate() == 0, up.output
    assert get(f"{up.api.url}/-/ready")[0] == 0
    again = start.up(environ={"METERHOUSE_SHIM__SETTLE_S": "0"})
    _assert_whole(again.api, LINES)


def test_sigint_ends_as_sigterm_does(start: Starter) -> None:
    up = start.up()
    up.interrupt()
    assert up.wait() == 0, up.output


def test_a_terminal_stops_and_continues_it_and_a_crash_ends_it(start: Starter) -> None:
    """Ctrl-Z and fg: agent and parent stop and go on. A crash in any thread ends the process at once."""
    up = start.up(environ={"METERHOUSE_SHIM__SETTLE_S": "0"})
    up.signal_group(signal.SIGTSTP)
    wait_for(lambda: up.states == {"T"}, "both are stopped", 180)
    up.signal_group(signal.SIGCONT)
    wait_for(lambda: "T" not in up.states, "both go on", 180)
    past_s = int(time.time()) - 600  # in a bucket of the past they leave at once
    up.send(f"{line}|T{past_s}" for line in _lines(10))
    up.api.wait_until("sum(increase(stop_count[1h]))", time.time() + 30, 10)
    os.kill(up.pid, signal.SIGSEGV)
    assert up.wait() == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in up.output


#: Runs `up`, and presses Ctrl-C where Python drops exceptions: in a callback while a module is imported.
_INTERRUPTED: Final = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "uvloop":
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                pass

import meterhouse
sys.meta_path.insert(0, Finder())
sys.exit(meterhouse.main(sys.argv[1:]))
"""


def test_an_early_interrupt_is_not_dropped(tmp_path: Path) -> None:
    listen = [word for part in ("statsd", "indexer", "api", "ops") for word in (f"--{part}", "127.0.0.1:0")]
    asked = [sys.executable, "-c", _INTERRUPTED, "up", "--data", str(tmp_path), *listen]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 130, done.stderr


def test_a_dead_agent_is_started_again(start: Starter) -> None:
    """The new agent has the same addresses, API and indexer go on, and the death is logged and counted."""
    up = start.up(environ={"METERHOUSE_SHIM__SETTLE_S": "0"})
    for n in (1, 2):
        up.kill_children()
        up.find(rf"event=agent_ended exit_code=-9 .*restarts={n - 1}")
        wait_for(lambda: get(f"{up.agent}/readyz")[0] == 200, "the agent is back", 240)
        past_s = int(time.time()) - 600  # in a bucket of the past they leave at once
        up.send(f"{line}|T{past_s}" for line in _lines(10))
        up.api.wait_until("sum(increase(stop_count[1h]))", time.time() + 30, 10 * n)
        _, metrics = get(f"{up.api.url}/metrics")
        assert b"meterhouse_shim_agent_restarts_total %d.0" % n in metrics
    assert up.terminate() == 0, up.output


def test_killed_up_starts_again_at_once(start: Starter) -> None:
    """kill -9, then the same command again: the orphan frees every address, and each line is stored once."""
    ops = {"METERHOUSE_AGENT__OPS": f"127.0.0.1:{free_port()}"}
    up = start.up(statsd=free_port(), indexer=free_port(), api=free_port(), environ={**PATIENT, **ops})
    up.send(_lines(LINES))
    wait_for(lambda: _received(up.agent) >= 3 * LINES, "the agent has the lines", 240)
    up.kill()
    ports = {
        "METERHOUSE_AGENT__UDP": f"127.0.0.1:{up.udp[1]}",
        "METERHOUSE_AGENT__TCP": f"127.0.0.1:{up.tcp[1]}",
        "METERHOUSE_AGENT__OPS": up.agent.removeprefix("http://"),
        "METERHOUSE_INDEXER__LISTEN": up.indexer.removeprefix("http://"),
        "METERHOUSE_SHIM__LISTEN": up.api.url.removeprefix("http://"),
        "METERHOUSE_SHIM__SETTLE_S": "0",
    }
    again = start("up", "--data", f"{start.folder}/data", environ=ports)
    again.find("meterhouse is up")
    send_tcp(up.tcp, _lines(LINES, first=LINES))
    _assert_whole(up.api, 2 * LINES)
    assert again.terminate() == 0, again.output


def test_data_in_use_says_by_whom(start: Starter) -> None:
    up = start.up()
    environ = {"METERHOUSE_AGENT__OPS": "127.0.0.1:0", "METERHOUSE_AGENT__UDP": "127.0.0.1:0",
               "METERHOUSE_AGENT__TCP": "127.0.0.1:0", "METERHOUSE_INDEXER__LISTEN": "127.0.0.1:0",
               "METERHOUSE_SHIM__LISTEN": "127.0.0.1:0", "METERHOUSE_SHIM__DSN": "chdb:///./data/chdb",
               "METERHOUSE_INDEXER__DSN": "chdb:///./data/chdb"}  # fmt: skip
    # At once: each takes seconds to start.
    others = {command: start(command, environ=environ) for command in ("up", "indexer", "shim")}
    for command, second in others.items():
        assert second.wait() == 1
        said = f"meterhouse {command}: another meterhouse (pid {up.pid}) uses ./data/chdb"
        hint = "" if command == "up" else ": the embedded store allows one process: use `meterhouse up`"
        assert second.output.splitlines()[-1] == said + hint


def test_taken_port_is_one_clear_line(start: Starter, tmp_path: Path) -> None:
    """Before ClickHouse is opened, and after a wait of some seconds."""
    first = start.up()
    port = first.tcp[1]
    second = start(
        *("up", "--data", str(tmp_path / "other"), "--statsd", f"127.0.0.1:{port}"),
        *("--indexer", "127.0.0.1:0", "--api", "127.0.0.1:0"),
        environ={"METERHOUSE_AGENT__OPS": "127.0.0.1:0"},
    )
    api = first.api.url.rpartition(":")[2]
    third = start(
        *("up", "--data", str(tmp_path / "third"), "--statsd", "127.0.0.1:0"),
        *("--indexer", "127.0.0.1:0", "--api", f"127.0.0.1:{api}"),
        environ={"METERHOUSE_AGENT__OPS": "127.0.0.1:0"},
    )
    assert second.wait() == 1
    assert str(port) in second.output
    assert "Traceback" not in second.output
    assert not (tmp_path / "other" / "chdb").exists()
    assert third.wait() == 1
    assert api in third.output
    assert "Traceback" not in third.output


def test_killed_up_comes_back_with_everything_once(start: Starter) -> None:
    """kill -9 of the parent with frames under way: its agent lives on until it has handed them over."""
    port = free_port()
    up = start.up(indexer=port, environ=PATIENT)
    up.send(_lines(LINES))
    wait_for(lambda: _received(up.agent) >= 3 * LINES, "the agent has the lines", 240)
    up.kill()
    again = start.up(indexer=port, environ={"METERHOUSE_SHIM__SETTLE_S": "0"})
    again.send(_lines(LINES, first=LINES))
    assert again.terminate() == 0, again.output
    last = start.up(environ={"METERHOUSE_SHIM__SETTLE_S": "0"})
    _assert_whole(last.api, 2 * LINES)


def _received(agent: str) -> float:
    _, body = get(f"{agent}/metrics")
    return sum(
        float(m[1])
        for m in re.finditer(rb"^meterhouse_agent_lines_total(?:\{[^}]*\})? (\S+)$", body, re.MULTILINE)
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_indexer_killed_again_and_again(start: Starter, seed: int) -> None:
    """kill -9 of the indexer at random moments while frames arrive; the agent sends until it is answered."""
    rnd = random.Random(seed)
    port, ops, statsd = free_port(), free_port(), free_port()
    dsn = f"chdb://{start.folder}/data/chdb"

    def indexer() -> Process:
        process = start("indexer", environ={
            "METERHOUSE_INDEXER__LISTEN": f"127.0.0.1:{port}",
            "METERHOUSE_INDEXER__DSN": dsn,
        })  # fmt: skip
        wait_for(lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200, process.output, 240)
        return process

    agent = start("agent", environ={
        "METERHOUSE_AGENT__UDP": "",
        "METERHOUSE_AGENT__TCP": f"127.0.0.1:{statsd}",
        "METERHOUSE_AGENT__OPS": f"127.0.0.1:{ops}",
        "METERHOUSE_AGENT__FORWARD__URL": f"http://127.0.0.1:{port}",
        "METERHOUSE_AGENT__FORWARD__DRAIN_S": "300",
        "METERHOUSE_AGENT__FORWARD__MAX_BACKOFF_S": "1",
        "METERHOUSE_AGENT__FLUSH__MAX_FRAME_ROWS": "50",
        "METERHOUSE_AGENT__FLUSH__LATE_MS": "100",
    })  # fmt: skip
    wait_for(lambda: get(f"http://127.0.0.1:{ops}/readyz")[0] == 200, "the agent is ready", 240)
    now = int(time.time()) // 10 * 10 - 600
    sent = 0
    for _ in range(4):
        process = indexer()
        for _ in range(5):  # in buckets of the past, so that they leave at once
            lines = [f"{line}|T{now + 10 * (i % 30)}" for i, line in enumerate(_lines(500, first=sent))]
            send_tcp(("127.0.0.1", statsd), lines)
            sent += 500
        time.sleep(rnd.random())  # any moment will do: the kill itself is under test
        process.kill()
    process = indexer()
    assert agent.terminate(360) == 0, agent.output
    assert process.terminate() == 0, process.output
    shim = start("shim", environ={
        "METERHOUSE_SHIM__LISTEN": f"127.0.0.1:{ops}",
        "METERHOUSE_SHIM__DSN": dsn,
    })  # fmt: skip
    api = Api(f"http://127.0.0.1:{ops}")
    wait_for(lambda: get(f"{api.url}/-/ready")[0] == 200, shim.output, 240)
    _assert_whole(api, sent)
