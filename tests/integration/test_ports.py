"""Ports of tests: none that the kernel hands out, and none of another worker."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.ports import free_port


def test_workers_have_ports_of_their_own_below_those_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = []
    for worker in ("gw0", "gw1", "gw7"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        found.append({free_port() for _ in range(50)})
    assert all(max(ports) < lowest for ports in found)
    assert not found[0] & found[1]
    assert not found[1] & found[2]


def test_a_port_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        monkeypatch.setattr("random.sample", lambda *_: [taken.getsockname()[1]])
        with pytest.raises(OSError, match="no free port"):
            free_port()
