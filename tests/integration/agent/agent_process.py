"""An agent in a process of its own, with free ports, and clients that send to it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.service import Addresses
from tests.integration.agent.conftest import DEADLINE_S, FakeIndexer, get

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys, msgspec
from agent import service
from agent.config.load import load
from agent.settings import AgentSettings

def ready(at):
    print(msgspec.json.encode(at).decode(), flush=True)

code = service.run(load(AgentSettings, sys.argv[1]), ready=ready)
print("modules", *sorted(sys.modules), flush=True)
sys.exit(code)
"""


class Process:
    """An agent in a process of its own."""

    def __init__(self, settings: dict[str, Any]) -> None:
        toml = "\n".join(f"{name} = {_toml(value)}" for name, value in settings.items())
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, toml],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said, self.process.communicate()[1]
        self.at = msgspec.json.decode(said, type=Addresses)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, out, err

    def metric(self, name: str) -> float:
        _, text = get(f"http://{self.at.ops}/metrics")
        found = [line for line in text.splitlines() if line.startswith(f"meterhouse_agent_{name}")]
        return sum(float(line.rpartition(" ")[2]) for line in found)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


@contextmanager
def started_agents(**settings: Any) -> Iterator[Callable[..., Process]]:
    """Start agents with these settings and those of each call; kill at the end those that still run."""
    started: list[Process] = []

    def start(**changes: Any) -> Process:
        started.append(Process({**settings, **changes}))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            if one.process.poll() is None:
                one.process.kill()
            one.process.communicate()


@pytest.fixture
def start(indexer: FakeIndexer, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start agents that send to the indexer of the test."""
    with started_agents(
        udp="127.0.0.1:0", tcp="127.0.0.1:0", ops="127.0.0.1:0", name="test",
        unix=str(tmp_path / "agent.sock"), unix_stream=str(tmp_path / "stream.sock"),
        forward={"url": indexer.url, "backoff_s": 0.05, "drain_s": 60},
    ) as start:  # fmt: skip
        yield start


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def send_udp(agent: Process, *packets: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for packet in packets:
            sock.sendto(packet, address(agent.at.udp))


def send_tcp(agent: Process, data: bytes) -> None:
    with socket.create_connection(address(agent.at.tcp)) as sock:
        sock.sendall(data)
