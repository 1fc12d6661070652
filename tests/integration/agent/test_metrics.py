"""The agent's metrics about itself."""

from __future__ import annotations

import contextlib
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.core.python_core import PythonCore
from agent.forward.forwarder import Forwarder
from agent.forward.heartbeat_sender import HeartbeatSender
from agent.forward.metadata_sender import MetadataSender
from agent.forward.spool.record import EncodedFrame
from agent.forward.spool.spool import Spool
from agent.mapping.config_file import parse
from agent.mapping.mapping_reload import MappingReload
from agent.net.sockets import AddressError, bind, split_host_port
from agent.protocol.line import Kind, Limits, MetricKey, Reason
from agent.receive.receiver import ReceiveCounters
from agent.receive.relay import NotSent, RelayCounters
from agent.runtime.clock import Clock
from agent.runtime.logs import Log
from agent.settings import AgentSettings, AggregateSettings, ForwardSettings
from agent.telemetry import admin_http
from agent.telemetry.admin_http import MAX_CONNECTIONS, AdminServer, MorePages
from agent.telemetry.metric_families import FAMILIES
from agent.telemetry.metrics import MetricSources, exposition
from agent.wire.frame import Sender
from agent.wire.metadata import MetricDescription
from tests.integration.agent.conftest import FakeIndexer, get

T = 1_700_000_000_000


class Told:
    """A listener's numbers."""

    def __init__(self, drops: int | None = None, connections: int = 0, threads: int = 0) -> None:
        self.received = ReceiveCounters()
        self.drops = drops
        self.connections = connections
        self.threads = threads

    def kernel_drops(self) -> int | None:
        return self.drops


class ToldInputs:
    """The numbers of all listeners."""

    def __init__(self) -> None:
        self.datagrams: dict[str, Told] = {}
        self.streams: dict[str, Told] = {}
        self.relayed = [RelayCounters(), RelayCounters()]
        self.relayed_events = [RelayCounters()]


class ToldState:
    """The numbers of the state directory."""

    written_s, failed, damaged = 3.5, 1, 2


def core(**aggregate: int) -> PythonCore:
    return PythonCore(AgentSettings(aggregate=AggregateSettings(**aggregate)), None, lambda: None)


def beats(spool: Spool) -> HeartbeatSender:
    return HeartbeatSender(ForwardSettings(), Sender(agent="a", epoch=1), spool, 0, Log())


def sources(inputs: ToldInputs | None = None) -> MetricSources:
    spool = Spool(25)
    return MetricSources(
        core=core(lateness_s=10, future_s=10),
        inputs=inputs or ToldInputs(),
        spool=spool,
        steady_ms=lambda: 5_000,
        forwarder=Forwarder(ForwardSettings(), spool, Log()),
        beats=beats(spool),
        clock=Clock(),
        state=ToldState(),
    )


def values(sources: MetricSources) -> dict[str, float]:
    """Sample name with labels -> value."""
    out = {}
    for family in text_string_to_metric_families(exposition(sources).decode()):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sample.labels.items())
            out[sample.name.removeprefix("meterhouse_agent_") + (f"{{{labels}}}" if labels else "")] = (
                sample.value
            )
    return out


def test_every_family_has_its_numbers() -> None:
    inputs = ToldInputs()
    s = sources(inputs)
    s.mapper = parse("mappings: [{match: x, name: y}]").mapper(Limits())
    s.mapper(MetricKey(Kind.COUNTER, "x", ()))
    s.mapping_reload = MappingReload(AgentSettings(mapping="m.yml"), s.mapper, lambda _: None, Log())
    s.announcer = MetadataSender(AgentSettings(), Log())
    s.announcer.describe("x" * 5_000, MetricDescription("too long a name"))
    s.core.add(b"x:1|c\nx:nan|c\n_sc|a|0\nx:1|c|y\nx:1|c|T1\nx:1|c|T9999999999", T)
    for i in range(4):
        s.spool.put(EncodedFrame(f"{i}", b"x" * 10, rows=3))
    udp, unix, tcp = Told(drops=7, threads=2), Told(), Told(connections=2)
    udp.received.packets, udp.received.bytes, udp.received.cut_off = 5, 500, 1
    tcp.received.too_long, tcp.received.refused_connections = 2, 9
    udp.received.pauses = 3
    inputs.datagrams, inputs.streams, s.last_flush_s = {"udp": udp, "unix": unix}, {"tcp": tcp}, 12.5
    for relayed in (*inputs.relayed, *inputs.relayed_events):
        relayed.packets = 4
        relayed.dropped[NotSent.FULL] = 5
    told = values(s)
    for name, value in {
        "lines_total": 9,  # six to the aggregator, three lost by listeners
        "bad_lines_total{reason=bad_value}": 1,
        "bad_lines_total{reason=cut_off}": 1,
        "bad_lines_total{reason=line_too_long}": 2,
        "skipped_lines_total{kind=service_check}": 1,
        "ignored_fields_total{reason=unknown_field}": 1,
        "clamped_lines_total{edge=old}": 1,
        "clamped_lines_total{edge=future}": 1,
        "mapped_heads_total{result=mapped}": 1,
        "mapped_heads_total{result=dropped}": 0,
        "mapping_reloads_total{result=failed}": 0,
        "metadata_total{outcome=sent}": 0,
        "metadata_total{outcome=dropped}": 1,
        "packets_total{listener=udp}": 5,
        "received_bytes_total{listener=udp}": 500,
        "kernel_dropped_packets_total{listener=udp}": 7,
        "receiver_threads": 2,
        "receiver_pauses_total{listener=udp}": 3,
        "connections{listener=tcp}": 2,
        "refused_connections_total{listener=tcp}": 9,
        "relayed_packets_total": 8,
        "relay_dropped_packets_total{reason=full}": 10,
        "relay_dropped_packets_total{reason=refused}": 0,
        "relayed_events_total": 4,
        "relay_dropped_events_total{reason=full}": 5,
        "core{core=python}": 1,
        "core_memory_bytes": 0,
        "longest_stop_seconds": 0,
        "live_series": 1,
        "remembered_series": 1,
        "forgotten_last_values_total": 0,
        "state_written_timestamp_seconds": 3.5,
        "state_errors_total{reason=damaged}": 2,
        "state_errors_total{reason=not_written}": 1,
        "entries": 6,  # three buckets, a cell in each
        "last_flush_timestamp_seconds": 12.5,
        "dropped_frames_total{reason=spool_full}": 2,
        "dropped_rows_total{reason=spool_full}": 6,
        "unsent_frames": 2,
        "unsent_bytes": 20,
    }.items():
        assert told[name] == value, name
    assert "kernel_dropped_packets_total{listener=unix}" not in told  # the kernel does not say
    names = {name.partition("{")[0] for name in told}
    assert names == {family.name.removeprefix("meterhouse_agent_") for family in FAMILIES}


def test_labels_are_there_before_the_first_fault() -> None:
    """So that rate() over them sees the first one."""
    told = values(sources())
    for reason in Reason:
        assert told[f"bad_lines_total{{reason={reason.value}}}"] == 0


def test_families_are_described() -> None:
    for family in FAMILIES:
        assert family.help.endswith(".")
        assert family.name.startswith("meterhouse_agent_")


def raw(address: str, asked: bytes) -> bytes:
    """Return the answer to some bytes, whole."""
    with socket.create_connection(split_host_port("", address), timeout=120) as sock:
        sock.sendall(asked)
        sock.shutdown(socket.SHUT_WR)
        parts = []
        with contextlib.suppress(ConnectionResetError):  # it did not read all of it
            while part := sock.recv(1_000):
                parts.append(part)
        return b"".join(parts)


def test_ops_pages() -> None:
    trouble = [""]
    server = AdminServer("127.0.0.1:0", lambda: b"text", lambda: trouble[0])
    try:
        url = f"http://{server.address}"
        assert get(f"{url}/metrics") == (200, "text")
        assert get(f"{url}/metrics?x=1") == (200, "text")
        assert get(f"{url}/healthz") == (200, "ok\n")
        assert get(f"{url}/readyz") == (200, "ready\n")
        trouble[0] = "no indexer"
        assert get(f"{url}/readyz") == (503, "no indexer\n")
        assert get(f"{url}/healthz") == (200, "ok\n")
        assert get(f"{url}/")[0] == 404
        for asked, status in (
            (b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
            (b"GET /healthz HTTP/1.0\n\n", b"200 OK"),
            (b"POST /healthz HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
            (b"GET /\xff HTTP/1.1\r\n\r\n", b"404 Not Found"),
            (b"nonsense\r\n\r\n", b"400 Bad Request"),
            (b"GET /healthz HTTP/1.1\r\n" + b"x: y\r\n" * 200, b"400 Bad Request"),
            (b"GET /healthz HTTP/1.1\r\n" + b"x" * 10_000, b"400 Bad Request"),
        ):
            assert raw(server.address, asked).startswith(b"HTTP/1.1 " + status + b"\r\n"), asked
        assert b"\r\n\r\n" in raw(server.address, b"HEAD /healthz HTTP/1.1\r\n\r\n")[-4:]
    finally:
        server.stop()
    with (
        bind("agent.ops", server.address, socket.SOCK_STREAM),
        pytest.raises(AddressError, match=r"agent\.ops"),
    ):
        AdminServer(server.address, lambda: b"", lambda: "")


def test_a_reload_by_post() -> None:
    """As SIGHUP: not by GET, nor from a web page; the answer has the number of problems alone."""
    problems: list[list[str]] = [[], ["mapping: line 1: secret"]]
    server = AdminServer(
        "127.0.0.1:0", lambda: b"", lambda: "", more=MorePages(reload=lambda: problems.pop(0))
    )
    try:
        for asked, status in (
            (b"GET /-/reload HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
            (b"POST /-/reload HTTP/1.1\r\nOrigin: http://evil\r\n\r\n", b"403 Forbidden"),
            (b"POST /-/reload HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n\r\n", b"403 Forbidden"),
            (b"POST /-/reload HTTP/1.1\r\nContent-Length: 3\r\n\r\nx=1", b"200 OK"),
            (b"POST /-/reload?x HTTP/1.1\r\n\r\n", b"500 Internal Server Error"),
        ):
            answer = raw(server.address, asked)
            assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n"), asked
            assert b"secret" not in answer
        assert problems == []
    finally:
        server.stop()


def test_silent_connections_are_bounded_and_keep_no_one_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest ones make room: so 70 silent clients do not silence /healthz, as they did before."""
    monkeypatch.setattr(admin_http, "_ROOM_S", 120.0)  # threads of a busy machine may end late
    server = AdminServer("127.0.0.1:0", lambda: b"text", lambda: "")
    try:
        with contextlib.ExitStack() as stack:
            silent = [
                stack.enter_context(
                    socket.create_connection(split_host_port("", server.address), timeout=120)
                )
                for _ in range(MAX_CONNECTIONS + 6)
            ]
            for sock in silent:
                sock.sendall(b"GET /healthz HTTP/1.1\r\n")
            for _ in range(3):
                assert answers(f"http://{server.address}")
            assert silent[0].recv(1) == b"", "ended"
        assert answers(f"http://{server.address}")
    finally:
        server.stop()


def test_a_request_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a client that sends a byte from time to time."""
    monkeypatch.setattr(admin_http, "_TIMEOUT_S", 0.1)
    server = AdminServer("127.0.0.1:0", lambda: b"text", lambda: "")
    try:
        with (
            contextlib.suppress(ConnectionError),  # ended before it was sent, or read
            socket.create_connection(split_host_port("", server.address), timeout=120) as slow,
        ):
            slow.sendall(b"GET /healthz HTTP/1.1\r\nx: ")
            assert slow.recv(1) == b""
    finally:
        server.stop()


def answers(url: str) -> bool:
    try:
        return get(f"{url}/healthz") == (200, "ok\n")
    except OSError:  # refused
        return False


def test_sent_numbers(indexer: FakeIndexer) -> None:
    spool = Spool(1_000)
    forwarder = Forwarder(ForwardSettings(url=indexer.url, backoff_s=0.01), spool, Log())
    s = MetricSources(
        core=core(),
        inputs=ToldInputs(),
        spool=spool,
        steady_ms=lambda: 5_000,
        forwarder=forwarder,
        beats=beats(spool),
        clock=Clock(),
        state=ToldState(),
    )
    indexer.script = [503, 400, 200]
    spool.put(EncodedFrame("1", b"x" * 10, rows=3))
    spool.put(EncodedFrame("2", b"y" * 10, rows=4))
    forwarder.start()
    assert forwarder.drain(10)
    told = values(s)
    assert told["send_retries_total{reason=busy}"] == 1
    assert told["sent_frames_total"] == told["dropped_frames_total{reason=refused}"] == 1
    assert told["sent_rows_total"] + told["dropped_rows_total{reason=refused}"] == 7
    assert told["sent_bytes_total"] == 10
    assert told["unsent_bytes"] == 0
    assert told["last_success_timestamp_seconds"] > 1.7e9
