"""Every type that real clients send arrives with the value sent, over every way they have, in both cores.

The agent runs alone; its frames are compared with the meaning of plain lines (tests/support/line_model.py).
SIGTERM flushes and sends all, so nothing has to be waited for but the reading of lines.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import statsd
from datadog.dogstatsd.base import DogStatsd

from agent.protocol.line import Limits
from agent.settings import AggregateSettings
from tests.e2e.product import Process, get, wait_for
from tests.integration.agent.conftest import FakeIndexer
from tests.support.cores.rows import CORES
from tests.support.line_model import model
from tests.support.ports import free_port
from tests.unit.agent.state import State, merge_into, state_of_frames

pytestmark = pytest.mark.e2e

NODE: Final = Path(__file__).parent / "node"
#: Of lines with a time: ten minutes ago.
THEN_S: Final = int(time.time()) - 600


class Agent:
    """An agent that sends to an indexer of ours."""

    def __init__(self, folder: Path, core: str, indexer: FakeIndexer, **environ: str) -> None:
        self.port, self._ops = free_port(), free_port()
        self.unix, self.unix_stream = str(folder / "dgram"), str(folder / "stream")
        self._indexer = indexer
        self._process = Process(folder, "agent", environ={
            "METERHOUSE_AGENT__CORE": core,
            "METERHOUSE_AGENT__UDP": f"127.0.0.1:{self.port}",
            "METERHOUSE_AGENT__TCP": f"127.0.0.1:{self.port}",
            "METERHOUSE_AGENT__UNIX": self.unix,
            "METERHOUSE_AGENT__UNIX_STREAM": self.unix_stream,
            "METERHOUSE_AGENT__OPS": f"127.0.0.1:{self._ops}",
            "METERHOUSE_AGENT__FORWARD__URL": indexer.url,
            "METERHOUSE_AGENT__LINES__NAME_TAGS": '["influx"]',
            **environ,
        })  # fmt: skip

    def ready(self) -> Agent:
        """Return when it answers."""
        wait_for(lambda: get(f"http://127.0.0.1:{self._ops}/readyz")[0] == 200, self._process.output, 240)
        return self

    def metric(self, name: str) -> float:
        text = get(f"http://127.0.0.1:{self._ops}/metrics")[1].decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def got(self, lines: int) -> State:
        """Return the frames' state, over all buckets, of an agent that read `lines` lines and has stopped."""
        wait_for(lambda: self.metric("meterhouse_agent_lines_total") >= lines, f"{lines} lines", 240)
        assert self.metric("meterhouse_agent_bad_lines_total") == 0
        assert self.metric("meterhouse_agent_lines_total") == lines
        assert self._process.terminate() == 0, self._process.output
        return timeless(state_of_frames(self._indexer.frames()))

    def clear(self) -> None:
        self._process.clear()


@pytest.fixture(params=CORES)
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Agent]:
    indexer = FakeIndexer()
    started = Agent(tmp_path, request.param, indexer)
    try:
        yield started.ready()
    finally:
        started.clear()
        indexer.stop()


def timeless(state: State) -> State:
    """One state for each series: buckets are merged, and of a gauge's last value the time is left out."""
    out: State = {}
    for (kind, name, tags, _), value in state.items():
        merge_into(out, (kind, name, tags, 0), value)
    for (kind, *_), value in out.items():
        if kind == "gauge":
            value["last"] = value["last"][1]
    return out


def lines(*texts: str) -> State:
    """Return the meaning of lines."""
    now_ms = time.time_ns() // 1_000_000
    return timeless(model([("\n".join(texts).encode(), now_ms)], Limits(), AggregateSettings()))


# ---------------------------------------------------------------- PyPI's statsd


def statsd_client(agent: Agent, way: str) -> Any:
    match way:
        case "udp":
            return statsd.StatsClient("127.0.0.1", agent.port, prefix="py")
        case "tcp":
            return statsd.TCPStatsClient("127.0.0.1", agent.port, prefix="py")
        case _:
            return statsd.UnixSocketStatsClient(agent.unix_stream, prefix="py")


@pytest.mark.parametrize("way", ["udp", "tcp", "unix stream"])
def test_statsd(agent: Agent, way: str) -> None:
    client = statsd_client(agent, way)
    client.incr("count", 2)
    client.decr("count")
    with client.pipeline() as pipe:
        pipe.timing("time", 0.25)
        pipe.timing("time", timedelta(microseconds=500))
        pipe.gauge("depth", 5)
    client.gauge("depth", 3, delta=True)
    client.gauge("depth", -1, delta=True)
    client.gauge("cold", -4)
    client.set("users", "ann")
    client.set("users", 42)
    random.seed(1)
    sampled = [random.random() <= 0.5 for _ in range(50)]
    random.seed(1)
    for _ in sampled:
        client.incr("sampled", 3, rate=0.5)
    client.close()
    assert agent.got(11 + sum(sampled)) == lines(
        "py.count:2|c", "py.count:-1|c", "py.time:0.25:0.5|ms", "py.depth:5:+3:-1|g", "py.cold:0:-4|g",
        "py.users:ann|s", "py.users:42|s", f"py.sampled:{3 * sum(sampled)}|c|@0.5",
    )  # fmt: skip


# ---------------------------------------------------------------- PyPI's datadog


def datadog_client(agent: Agent, way: str, **options: Any) -> DogStatsd:
    ways: dict[str, dict[str, Any]] = {
        "udp": {"host": "127.0.0.1", "port": agent.port},
        "unix": {"socket_path": f"unixgram://{agent.unix}"},
        "unix stream": {"socket_path": f"unixstream://{agent.unix_stream}"},
    }
    # With a timeout the client waits where a Unix socket's queue is full, which may hold ten packets.
    return DogStatsd(**ways[way], namespace="py", disable_telemetry=True, socket_timeout=10, **options)


def finish(client: DogStatsd) -> None:
    client.flush()
    client.stop()
    client.close_socket()


@pytest.mark.parametrize("way", ["udp", "unix", "unix stream"])
@pytest.mark.parametrize("buffered", [False, True])
def test_datadog(agent: Agent, monkeypatch: pytest.MonkeyPatch, way: str, buffered: bool) -> None:
    monkeypatch.setenv("DD_EXTERNAL_ENV", "it-false,cn-web,pu-810fe89d")
    client = datadog_client(
        agent, way, disable_aggregation=True, disable_buffering=not buffered,
        container_id="ci-83c0a9", constant_tags=["zone:eu"],
    )  # fmt: skip
    client.increment("count", 2, tags=["route:/cart"])
    client.decrement("count", tags=["route:/cart"])
    client.count("count", 0.5, cardinality="low")
    client.count_with_timestamp("then", 4, THEN_S)
    client.gauge("depth", 7)
    client.gauge_with_timestamp("was", -4, THEN_S)
    client.histogram("time", 0.25)
    client.distribution("time", 0.5)
    client.timing("time", 0.75, tags=["bare"])
    client.set("users", "ann")
    client.event("deploy", "two\nlines", tags=["a:b"])
    client.service_check("db", DogStatsd.OK, message="up")
    finish(client)
    assert agent.got(12) == lines(
        "py.count:2:-1|c|#route:/cart,zone:eu", "py.count:0.5|c|#zone:eu", f"py.then:4|c|#zone:eu|T{THEN_S}",
        "py.depth:7|g|#zone:eu", f"py.was:-4|g|#zone:eu|T{THEN_S}", "py.time:0.25:0.5|d|#zone:eu",
        "py.time:0.75|ms|#bare,zone:eu", "py.users:ann|s|#zone:eu",
    )  # fmt: skip


def test_datadog_aggregating(agent: Agent) -> None:
    """The client sums counters, keeps the last of gauges, and gathers the values of distributions."""
    client = datadog_client(agent, "udp", disable_aggregation=True, disable_buffering=True)
    client.enable_aggregation(flush_interval=600, max_samples_per_context=20)
    for i in range(10):
        client.increment("count", 2)
        client.gauge("depth", i)
        client.distribution("time", i / 4, tags=["a:b"])
        client.histogram("size", i)
        client.set("users", f"u{i % 3}")
    client.flush_aggregated_metrics()
    finish(client)
    values = ":".join(str(i / 4) for i in range(10))
    assert agent.got(25) == lines(
        "py.count:20|c", "py.depth:9|g", f"py.time:{values}|d|#a:b", "py.size:0:1:2:3:4:5:6:7:8:9|h",
        "py.users:u0|s", "py.users:u1|s", "py.users:u2|s",
    )  # fmt: skip


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(("deltas", "untagged"), [("auto", -21.0), ("never", -7.0)])
def test_datadog_s_negative_gauges(tmp_path: Path, core: str, deltas: str, untagged: float) -> None:
    """They are values, not deltas; without a mark on the line only a setting can say so."""
    indexer = FakeIndexer()
    agent = Agent(tmp_path, core, indexer, METERHOUSE_AGENT__LINES__GAUGE_DELTAS=deltas)
    try:
        client = datadog_client(
            agent.ready(), "udp", disable_aggregation=True, origin_detection_enabled=False
        )
        for _ in range(3):
            client.gauge("room", -7, tags=["room:a"])
            client.gauge("plain", -7)
        finish(client)
        last = {name: state["last"] for (_, name, *_), state in agent.got(6).items()}
        assert last == {"py.room": -7.0, "py.plain": untagged}
    finally:
        agent.clear()
        indexer.stop()


# ---------------------------------------------------------------- npm's hot-shots and statsd-client


def node(which: str, **options: Any) -> None:
    assert (NODE / "node_modules" / "statsd-client").is_dir(), "`make test` installs it with npm ci"
    command = ["node", str(NODE / "types.js"), which, json.dumps(options), str(THEN_S)]
    subprocess.run(command, check=True, timeout=120)


COUNTS: Final = ("js.count:3|c|#route:/cart,bare", "js.count:-0.5|c")
TIMES: Final = ("js.time:0.25|ms", "js.time:0.5:0.75|d|#zone:eu")
STATES: Final = ("js.depth:5:+3:-1|g", "js.users:ann|s", "js.users:42|s")


@pytest.mark.parametrize(("way", "buffer_bytes"), [("udp", 0), ("udp", 1_000), ("tcp", 1_000)])
def test_hot_shots(agent: Agent, way: str, buffer_bytes: int) -> None:
    node("hotShots", host="127.0.0.1", port=agent.port, protocol=way, maxBufferSize=buffer_bytes)
    times = (f"js.then:4|c|T{THEN_S}", f"js.was:-4|g|T{THEN_S}")
    assert agent.got(15) == lines(*COUNTS, *TIMES, *STATES, *times)


def test_hot_shots_with_tags_in_names(agent: Agent) -> None:
    """Its Telegraf mode sends Influx tags; a bare one would be malformed there."""
    node("hotShots", host="127.0.0.1", port=agent.port, telegraf=True)
    assert agent.got(11) == lines("js.count:3|c|#route:/cart", COUNTS[1], *TIMES, *STATES)


def test_statsd_client_of_node(agent: Agent) -> None:
    node("statsdClient", host="127.0.0.1", port=agent.port)
    assert agent.got(10) == lines(
        "js.count:2:1:-0.5|c|#zone:eu", "js.time:0.25:0.75|d|#zone:eu", "js.time:0.5|h|#zone:us",
        "js.depth:5:+3:-1|g|#zone:eu", "js.users:ann|s|#zone:eu",
    )  # fmt: skip
