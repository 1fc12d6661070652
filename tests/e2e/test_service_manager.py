"""Processes beside a service manager: messages to systemd, and `meterhouse healthcheck` for containers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.product import PROGRAM, START_S, Process, Starter, wait_for
from tests.support.ports import free_port

#: systemd's setting of a service: with it a part sends a sign of life every 100 ms.
WATCHDOG = {"WATCHDOG_USEC": "300000"}


class Manager:
    """The socket of a service manager."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(self.path)

    def wait_for(self, message: str, process: Process) -> None:
        """Return when the message comes; fail when the process ends before."""
        self._sock.settimeout(0.2)

        def came() -> bool:
            running = process.running
            try:
                return self._sock.recv(4096).decode().startswith(message)
            except TimeoutError:
                assert running, process.output
                return False

        wait_for(came, message, START_S)

    def drain(self) -> None:
        """Drop all messages until now: ten unread ones fill the socket, and no further one is sent."""
        self._sock.setblocking(False)
        try:
            while self._sock.recv(4096):
                pass
        except BlockingIOError:
            pass

    def is_silent(self, for_s: float) -> bool:
        """Drop all messages until now, and return whether none follows for some time."""
        self.drain()
        self._sock.settimeout(for_s)
        try:
            self._sock.recv(4096)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def healthcheck(*arguments: str, environ: dict[str, str]) -> tuple[int, str]:
    """Return the exit code and the output. Without a --timeout it waits long: the machine may be busy."""
    if "--timeout" not in arguments:
        arguments = (*arguments, "--timeout", "120")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("METERHOUSE_")}
    done = subprocess.run(
        [*PROGRAM, "healthcheck", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**clean, **environ},
    )
    return done.returncode, done.stdout + done.stderr


def test_an_agent_tells_that_it_starts_lives_and_stops(manager: Manager, start: Starter) -> None:
    udp, ops = free_port(), free_port()
    environ = {
        "METERHOUSE_AGENT__UDP": f"127.0.0.1:{udp}",
        "METERHOUSE_AGENT__TCP": "",
        "METERHOUSE_AGENT__OPS": f"127.0.0.1:{ops}",
        "NOTIFY_SOCKET": manager.path,
        **WATCHDOG,
    }
    assert healthcheck("agent", environ=environ) == (
        1,
        f"agent: not ready: Connection refused (http://127.0.0.1:{ops}/readyz)\n",
    )
    agent = start("agent", environ=environ)
    manager.wait_for("READY=1\nSTATUS=receives lines", agent)
    manager.wait_for("WATCHDOG=1", agent)
    assert healthcheck("agent", environ=environ) == (0, f"agent: ready (http://127.0.0.1:{ops}/readyz)\n")
    os.kill(agent.pid, signal.SIGSTOP)  # as an event loop that hangs
    wait_for(lambda: agent.states == {"T"}, "it is stopped", START_S)
    assert manager.is_silent(1.0)
    began = time.monotonic()
    code, said = healthcheck("agent", "--timeout", "0.3", environ=environ)
    assert (code, "timed out" in said, time.monotonic() - began < START_S) == (1, True, True)
    os.kill(agent.pid, signal.SIGCONT)
    manager.wait_for("WATCHDOG=1", agent)
    os.kill(agent.pid, signal.SIGTERM)
    manager.wait_for("STOPPING=1", agent)
    assert agent.wait() == 0


def test_a_watchdog_of_another_process_is_not_ours(manager: Manager, start: Starter) -> None:
    environ = {
        "METERHOUSE_AGENT__UDP": "127.0.0.1:0",
        "METERHOUSE_AGENT__TCP": "",
        "METERHOUSE_AGENT__OPS": "",
    }
    agent = start(
        "agent", environ={**environ, "NOTIFY_SOCKET": manager.path, **WATCHDOG, "WATCHDOG_PID": "1"}
    )
    manager.wait_for("READY=1", agent)
    assert manager.is_silent(0.5)


def test_up_is_ready_when_all_parts_are(manager: Manager, start: Starter) -> None:
    """The agent is a child of it, and must not speak for it."""
    frames, queries, ops = free_port(), free_port(), free_port()
    listening = {
        "METERHOUSE_INDEXER__LISTEN": f"0.0.0.0:{frames}",
        "METERHOUSE_SHIM__LISTEN": f"[::1]:{queries}",
        "METERHOUSE_AGENT__OPS": f"127.0.0.1:{ops}",
    }
    up = start(
        "up", "--data", str(start.folder / "data"), "--statsd", "127.0.0.1:0",
        environ={**listening, "NOTIFY_SOCKET": manager.path, **WATCHDOG},
    )  # fmt: skip
    manager.wait_for("READY=1\nSTATUS=receives lines, answers queries", up)
    manager.wait_for("WATCHDOG=1", up)
    ready = [
        f"agent: ready (http://127.0.0.1:{ops}/readyz)",
        f"indexer: ready (http://127.0.0.1:{frames}/readyz)",
        f"shim: ready (http://[::1]:{queries}/-/ready)",
    ]

    def is_ready() -> bool:
        """Return whether all are: a part whose store is slow is not ready for a moment."""
        code, said = healthcheck("up", environ=listening)
        assert said.count("\n") == len(ready), said
        return (code, said.splitlines()) == (0, ready)

    wait_for(is_ready, f"{ready}", START_S)
    assert healthcheck("indexer", "--live", environ=listening)[1].startswith("indexer: runs (http")
    manager.drain()
    os.kill(up.pid, signal.SIGTERM)
    manager.wait_for("STOPPING=1", up)
    assert up.wait() == 0


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"METERHOUSE_AGENT__OPS": ""}, "agent.ops is off: expected host:port"),
        ({"METERHOUSE_AGENT__OPS": "127.0.0.1:0"}, "expected host:port with a port above 0"),
        ({"METERHOUSE_AGENT__OPSS": "x"}, "METERHOUSE_AGENT__OPSS"),
    ],
)
def test_settings_that_name_no_address(environ: dict[str, str], problem: str) -> None:
    code, said = healthcheck("agent", environ=environ)
    assert (code, problem in said, said.count("\n")) == (2, True, 1), said
