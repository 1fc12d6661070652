"""The log when the kernel drops packets: once, with the setting to change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.net.kernel_drops import DropWarning, rmem_max, suggested_fix
from agent.runtime.logs import Log
from indexer.status import Status
from shim.allinone.status_line import Scraped, StatusNumbers, fitted, parts, scrape


def test_the_kernels_bound_is_raised_first() -> None:
    assert suggested_fix(8 << 20, 212_992) == "sysctl -w net.core.rmem_max=8388608"
    both = "agent.receive.buffer_bytes=16777216 and sysctl -w net.core.rmem_max=16777216"
    assert suggested_fix(8 << 20, 8 << 20) == both
    assert rmem_max() > 0


def test_each_listener_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    warning, dropped = DropWarning(4_096, Log()), [0]
    listeners: dict[str, Callable[[], int | None]] = {"udp": lambda: dropped[0], "unix": lambda: None}
    warning.look(listeners)
    assert not caplog.records
    for dropped[0] in (3, 4):
        warning.look(listeners)
    assert [r.message for r in caplog.records] == [
        f"kernel_drops listener=udp packets=3 fix={suggested_fix(4_096, rmem_max())!r}"
    ]


def test_the_line_of_status_shows_it() -> None:
    agent = scrape('meterhouse_agent_kernel_dropped_packets_total{listener="udp"} 1200\n')
    assert agent == Scraped(0.0, 0.0, 1200.0)
    numbers = StatusNumbers(0.0, 0.0, agent, Status(1, 1, 0.0))
    shown = fitted(parts(numbers, 0.0, "sysctl x"), 200)
    assert shown.endswith(" | the kernel dropped 1,200 packets: sysctl x")
    assert "kernel" not in fitted(parts(numbers._replace(agent=Scraped()), 0.0, "sysctl x"), 200)
