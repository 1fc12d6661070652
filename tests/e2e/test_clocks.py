"""Wrong and stepping clocks, of real processes: nothing stops, nothing is lost, every line has its time."""

from __future__ import annotations

import json
import re
import socket
import time
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.product import Api, Process, Starter, get, send_tcp, wait_for
from tests.support.faketime import FakeTime
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e

DAY_S: Final = 86_400
HOUR_S: Final = 3_600
SHOWN: Final = {"METERHOUSE_SHIM__SETTLE_S": "0"}


def _agent(start: Starter, clock: FakeTime, url: str) -> tuple[Process, tuple[str, int], str]:
    """Provide an agent in either core, as available: its process, the port of its lines, its metrics."""
    statsd, ops = free_port(), free_port()
    process = start("agent", environ={
        **clock.environ,
        "METERHOUSE_AGENT__NAME": "elsewhere",
        "METERHOUSE_AGENT__UDP": f"127.0.0.1:{statsd}",
        "METERHOUSE_AGENT__TCP": f"127.0.0.1:{statsd}",
        "METERHOUSE_AGENT__OPS": f"127.0.0.1:{ops}",
        "METERHOUSE_AGENT__FORWARD__URL": url,
        "METERHOUSE_AGENT__FORWARD__MAX_BACKOFF_S": "1",
        "METERHOUSE_AGENT__FLUSH__LATE_MS": "100",
    })  # fmt: skip
    wait_for(lambda: get(f"http://127.0.0.1:{ops}/healthz")[0] == 200, process.output, 240)
    return process, ("127.0.0.1", statsd), f"http://127.0.0.1:{ops}/metrics"


def _metric(url: str, name: str) -> float:
    found = re.search(rf"^meterhouse_{name}(?:\{{[^}}]*\}})? (\S+)$", get(url)[1].decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def _status(url: str) -> dict[str, Any]:
    """Return the indexer's status of that agent."""
    agents = json.loads(get(f"{url}/status")[1])["agents"]
    return next((a for a in agents if a["agent"] == "elsewhere"), {})


def _lines(name: str, n: int, suffix: str = "") -> list[str]:
    return [f"{name}:1|c|#k:{i % 7}{suffix}" for i in range(n)]


def test_an_agent_two_days_ahead_that_is_put_right_and_stepped_back(start: Starter, tmp_path: Path) -> None:
    clock, port = FakeTime(tmp_path, 2 * DAY_S), free_port()
    agent, lines, metrics = _agent(start, clock, f"http://127.0.0.1:{port}")
    ahead_s = int(time.time()) // 10 * 10 + 2 * DAY_S
    send_tcp(lines, _lines("clocks", 1_000, f"|T{ahead_s - 30}"))  # before it knows the indexer's time
    wait_for(lambda: _metric(metrics, "agent_unsent_frames") > 0, "a frame is made", 240)
    up = start.up(indexer=port, environ=SHOWN)
    wait_for(lambda: _metric(metrics, "agent_clock_offset_seconds") > 0, "the agent knows the time", 240)
    wait_for(
        lambda: abs(_metric(metrics, "agent_clock_skew_seconds") - 2 * DAY_S) < 5,
        "the agent shows its skew",
        120,
    )
    send_tcp(lines, _lines("clocks", 1_000))
    wait_for(lambda: abs(_status(up.indexer).get("clock_ahead_s") or 0) > DAY_S, "the indexer knows it", 240)
    wait_for(lambda: "jumped_s=-172" in agent.output, "the agent tells of its clock", 240)
    told = "event=agent_clock org_id=1 project_id=1 agent=elsewhere ahead_s=172"
    wait_for(lambda: told in up.output, "the indexer tells of the clock", 240)
    jumps_s = [float(found) for found in re.findall(r" clock jumped_s=(\S+)", agent.output)]
    assert sum(abs(jump_s) > 5 for jump_s in jumps_s) == 1, (
        "others are of slow answers to the first heartbeats"
    )
    for offset_s in (0, -HOUR_S):
        clock.step_to(offset_s)
        send_tcp(lines, _lines("clocks", 500))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto("\n".join(_lines("clocks", 500)).encode(), lines)
    assert _metric(metrics, "agent_dropped_frames_total") == 0
    assert agent.terminate() == 0, agent.output
    _assert_now(up.api, 4_000)
    moved = f"{up.indexer}/metrics"
    wait_for(lambda: _metric(moved, "indexer_moved_rows_total") >= 7, "the moved rows are counted", 240)
    wait_for(lambda: _status(up.indexer).get("ended"), "the indexer knows that the agent ended", 240)
    assert _status(up.indexer)["missing_frames"] == 0


def _assert_now(api: Api, n: int) -> None:
    """All n lines are stored, within the time of this test: less than an hour, by which a clock was wrong."""
    now = time.time()
    api.wait_until("sum(increase(clocks[50m]))", now + 30, n)


def test_a_step_back_by_an_hour_stops_nothing(start: Starter, tmp_path: Path) -> None:
    """Of agent and indexer at once; lines sent after it are stored as soon as before."""
    clock = FakeTime(tmp_path, HOUR_S)
    up = start.up(environ={**SHOWN, **clock.environ})
    up.send(_lines("clocks", 1_000))
    clock.step_to(0)
    up.send(_lines("clocks", 1_000))
    up.api.wait_until("sum(increase(clocks[3h]))", time.time() + HOUR_S + 60, 2_000)  # not an hour later
    assert up.terminate() == 0, up.output
