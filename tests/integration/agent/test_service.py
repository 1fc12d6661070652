"""The agent as a real process: lines in over every socket, frames out, signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import service
from agent.net.sockets import AddressError, bind
from agent.runtime.loop import Loop
from agent.service import Addresses
from agent.settings import AgentSettings
from agent.wire.metadata import MetadataMessage, MetricMetadata
from tests.integration.agent.agent_process import Process, address, send_tcp, send_udp, start
from tests.integration.agent.conftest import DEADLINE_S, FakeIndexer, get, wait_until
from tests.support.certificates import Authority
from tests.support.cores.rows import CORES
from tests.unit.agent.state import State, merge, state_of_frames

__all__ = ["start"]  # the fixture


def totals(indexer: FakeIndexer) -> dict[tuple[str, tuple[tuple[str, str], ...]], Any]:
    """Counters by name and tags, over all buckets."""
    state: State = merge(*(state_of_frames([frame]) for frame in indexer.frames()))
    out: dict[tuple[str, tuple[tuple[str, str], ...]], Any] = {}
    for (kind, name, tags, _), value in state.items():
        if kind == "counter":
            out[name, tags] = out.get((name, tags), 0.0) + value
    return out


def test_lines_over_every_socket_and_sigterm_flushes(
    start: Callable[..., Process], indexer: FakeIndexer
) -> None:
    agent = start(tags={"pod": "web-1"}, org_id=5, project_id=6, retention_days=7)
    send_udp(agent, b"a:1|c\na:1|c", b"a:2|c|#x:y")
    send_tcp(agent, b"a:3|c\na:4|c")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"a:5|c\n", agent.at.unix)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(agent.at.unix_stream)
        sock.sendall(b"\x0c\0\0\0a:6|c\na:7|c\n\5\0\0\0a:8|c")
    wait_until(lambda: agent.metric("lines_total") == 9)
    assert get(f"http://{agent.at.ops}/readyz") == (200, "ready\n")
    code, _, err = agent.stop()
    assert code == 0, err
    assert totals(indexer) == {
        ("a", (("pod", "web-1"),)): 35.0,
        ("a", (("pod", "web-1"), ("x", "y"))): 2.0,
    }
    frame = indexer.frames()[0]
    assert (frame.agent, frame.org_id, frame.project_id, frame.retention_days) == ("test", 5, 6, 7)
    assert abs(frame.created_ms - time.time() * 1000) < 60_000
    assert not Path(agent.at.unix).exists()
    assert not Path(agent.at.unix_stream).exists()
    assert "stopped" in err


#: Modules that a sidecar does without: the servers' libraries, and those that only cost memory and time.
NOT_FOR_A_SIDECAR = {
    *("aiohttp", "chdb", "clickhouse_connect", "indexer", "numpy", "prometheus_client"),
    *(
        "redis",
        "shim",
        "uvloop",
        "asyncio",
        "http.server",
        "ssl",
        "yaml",
        "agent.cli.demo",
        "agent.mapping.mapper",
    ),
}


def test_a_sidecar_is_small(start: Callable[..., Process]) -> None:
    """Idle, with all listeners: 26 MiB when this was written; README promises the bound."""
    agent = start()
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    assert int(status.partition("VmRSS:")[2].split()[0]) < 35 << 10
    code, out, err = agent.stop()
    assert code == 0, err
    modules = set(out.split())
    assert not NOT_FOR_A_SIDECAR & modules
    assert len(modules) < 300
    if "agent.core._native.core" in modules:  # nor does it load the core that it does not run
        assert "agent.core.python_core" not in modules


def test_a_mapping_is_applied(start: Callable[..., Process], indexer: FakeIndexer, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.yml"
    mapping.write_text("""defaults: {ttl: 1m}
mappings:
- {match: shop.*.hits, name: hits, labels: {shop: $1}, scale: 10, help: Hits of shops., unit: hits}
- {match: noise.*, action: drop}
""")
    agent = start(mapping=str(mapping), tags={"pod": "web-1"})
    for _ in range(3):
        send_udp(agent, b"shop.a.hits:1|c|@0.5|#k:v\nnoise.x:1|c\nother:1|c\nshop.b.hits:-1|c")
    wait_until(lambda: agent.metric("lines_total") == 12)
    assert agent.metric('skipped_lines_total{kind="mapping"}') == 3
    assert agent.metric('mapped_heads_total{result="mapped"}') == 2
    assert agent.metric('mapped_heads_total{result="dropped"}') == 1
    assert agent.metric('mapped_heads_total{result="unmapped"}') == 1
    wait_until(lambda: agent.metric('metadata_total{outcome="sent"}') == 1)
    assert indexer.metadata == [MetadataMessage(1, 1, (MetricMetadata("hits", "Hits of shops.", "hits"),))]
    code, _, err = agent.stop()
    assert code == 0, err
    assert "ttl has no effect" in err
    assert totals(indexer) == {
        ("hits", (("k", "v"), ("pod", "web-1"), ("shop", "a"))): 60.0,
        ("hits", (("pod", "web-1"), ("shop", "b"))): -30.0,
        ("other", (("pod", "web-1"),)): 3.0,
    }


def test_signal_takes_what_the_kernel_holds(start: Callable[..., Process], indexer: FakeIndexer) -> None:
    """Nothing sent before the signal is lost, whether the agent has read it or not."""
    agent = start()
    os.kill(agent.process.pid, signal.SIGSTOP)  # so that nothing is read yet
    send_udp(agent, *[b"a:1|c"] * 1_000)
    send_tcp(agent, b"b:1|c\n" * 1_000)
    agent.process.send_signal(signal.SIGINT)
    os.kill(agent.process.pid, signal.SIGCONT)
    _, err = agent.process.communicate(timeout=DEADLINE_S)
    assert agent.process.returncode == 0, err
    sent = totals(indexer)
    assert sent["a", ()] == 1_000.0
    assert sent.get(("b", ()), 1_000.0) == 1_000.0  # a connection not yet accepted is refused, never halved


def test_buckets_leave_on_their_own(start: Callable[..., Process], indexer: FakeIndexer) -> None:
    """A late line within `late_ms`; a present one soon after its bucket ends."""
    agent = start(flush={"late_ms": 100, "delay_ms": 0})
    now = int(time.time())
    send_udp(agent, b"late:1|c|T%d" % (now - 60))
    wait_until(lambda: ("late", ()) in totals(indexer))
    bucket_end = (int(time.time()) // 10 + 1) * 10  # or a later one, if the line comes after it
    send_udp(agent, b"x:1|c")
    wait_until(lambda: ("x", ()) in totals(indexer))
    assert time.time() >= bucket_end
    wait_until(lambda: agent.metric("last_flush_timestamp_seconds") >= bucket_end - 10)
    assert agent.stop()[0] == 0


def test_a_full_memory_flushes_early(start: Callable[..., Process], indexer: FakeIndexer) -> None:
    agent = start(aggregate={"max_entries": 100}, flush={"max_frame_rows": 30})
    send_tcp(agent, b"".join(b"x%d:1|c\n" % (i % 1_000) for i in range(20_000)))
    wait_until(lambda: agent.metric("lines_total") == 20_000)
    assert agent.metric("early_flushes_total") >= 1
    assert agent.metric("entries") <= 100 + 128 << 10
    assert agent.stop()[0] == 0
    assert totals(indexer) == {(f"x{i}", ()): 20.0 for i in range(1_000)}
    assert max(frame.rows for frame in indexer.frames()) <= 30
    assert len({frame.identity for frame in indexer.frames()}) == len(indexer.frames())


def test_unsent_frames_make_exit_code_1(start: Callable[..., Process], indexer: FakeIndexer) -> None:
    indexer.always = 503
    agent = start(forward={"url": indexer.url, "backoff_s": 0.05, "drain_s": 0.3})
    send_udp(agent, b"x:1|c|T%d" % (time.time() - 60))
    wait_until(lambda: agent.metric("send_retries_total") >= 1)
    status, text = get(f"http://{agent.at.ops}/readyz")
    assert (status, "busy or down: 503" in text) == (503, True)
    code, _, err = agent.stop()
    assert code == 1
    assert "unsent_at_exit frames=1" in err


def test_the_indexer_comes_back_while_draining(start: Callable[..., Process], indexer: FakeIndexer) -> None:
    indexer.always = 503
    agent = start()
    send_udp(agent, b"x:1|c|T%d" % (time.time() - 60))
    wait_until(lambda: indexer.bodies)
    agent.process.send_signal(signal.SIGTERM)
    tries = len(indexer.bodies)
    wait_until(lambda: len(indexer.bodies) > tries + 1)
    indexer.always = None
    _, err = agent.process.communicate(timeout=DEADLINE_S)
    assert agent.process.returncode == 0, err
    assert totals(indexer) == {("x", ()): 1.0}
    assert len(set(indexer.bodies)) == 1


def test_copies_for_other_servers(start: Callable[..., Process], tmp_path: Path) -> None:
    """Datagrams as they came, lines of streams packed; events and service checks apart."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as events,
    ):
        other.bind(("127.0.0.1", 0))
        other.settimeout(DEADLINE_S)
        events.settimeout(DEADLINE_S)
        there = f"127.0.0.1:{other.getsockname()[1]}"
        agent = start(relay={"address": there, "events": str(tmp_path / "events")})
        packets = [b"a:1|c\nnonsense\n", b"", b"_e{1,1}:a|b\na:2|c\n_sc|x|0"]
        send_udp(agent, *packets)
        assert [other.recv(1_000) for _ in packets] == packets
        wait_until(lambda: agent.metric('relay_dropped_events_total{reason="refused"}') == 2)
        events.bind(str(tmp_path / "events"))  # only now; the agent finds it by itself
        send_tcp(agent, b"_e{1,1}:c|d\n")
        assert other.recv(1_000) == b"_e{1,1}:c|d"  # before further datagrams, which another thread reads
        wait_until(lambda: agent.metric("relayed_events_total") + _send_event(agent) >= 1)
        assert events.recv(1_000).startswith((b"_e{1,1}:c|d", b"_e{2,2}:cc|dd"))
        assert agent.stop()[0] == 0


def _send_event(agent: Process) -> int:
    send_udp(agent, b"_e{2,2}:cc|dd")
    return 0


def test_more_sockets_on_one_port(start: Callable[..., Process], indexer: FakeIndexer) -> None:
    agent = start(receive={"threads": 3})
    for i in range(60):
        send_udp(agent, b"a:1|c\ng:+1|g", b"u%d:1|c" % i)  # each from a port of its own
    wait_until(lambda: agent.metric("lines_total") == 180)
    assert agent.metric("packets_total") == 120
    top = json.loads(get(f"http://{agent.at.ops}/debug/top")[1])
    assert top["remembered_series"] >= 62, "each receiver has its own"
    assert len(top["metrics"]) == 50
    with pytest.raises(AddressError, match="Address already in use"):
        bind("agent.udp", agent.at.udp, socket.SOCK_DGRAM)
    assert agent.stop()[0] == 0
    assert totals(indexer)["a", ()] == 60.0
    assert len(totals(indexer)) == 61


def test_packets_that_the_kernel_drops_are_named_once(start: Callable[..., Process]) -> None:
    agent = start(receive={"buffer_bytes": 4_096, "nap_ms": 100})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

        def loses() -> bool:
            for _ in range(500):
                sender.sendto(b"a:1|c" + b"\n" * 1_000, address(agent.at.udp))
            return agent.metric("kernel_dropped_packets_total") > 0

        wait_until(loses)
    code, _, err = agent.stop()
    assert code == 0
    assert err.count("kernel_drops listener=udp packets=") == 1
    assert "fix='agent.receive.buffer_bytes=8192 and sysctl -w net.core.rmem_max=8192'" in err


def test_stops_by_its_loop_inside_another_program(indexer: FakeIndexer) -> None:
    seen = list[Addresses]()

    def ready(at: Addresses) -> None:
        seen.append(at)
        loop.stop()

    settings = msgspec.convert(
        {"udp": "[::1]:0", "tcp": "", "unix": "", "ops": "", "forward": {"url": indexer.url}}, AgentSettings
    )
    with Loop() as loop:
        assert service.run(settings, ready=ready, loop=loop) == 0
    (at,) = seen
    assert at.udp.startswith("[::1]:")
    assert (at.tcp, at.unix, at.ops) == ("", "", "")


def test_a_taken_port_raises_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = AgentSettings(udp="127.0.0.1:0", tcp=f"127.0.0.1:{port}", ops="")
        with pytest.raises(AddressError, match=rf"agent\.tcp = '127.0.0.1:{port}': Address already in use"):
            service.run(settings)


def gauges(indexer: FakeIndexer) -> dict[str, float]:
    """Last values of gauges by name, over all frames."""
    state = merge(*(state_of_frames([frame]) for frame in indexer.frames()))
    latest = sorted((key[3], key[1], value["last"][1]) for key, value in state.items() if key[0] == "gauge")
    return {name: value for _, name, value in latest}


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_delta_finds_its_base_after_a_restart(
    start: Callable[..., Process], indexer: FakeIndexer, tmp_path: Path, core: str, end: signal.Signals
) -> None:
    """After kill -9 the values written at most `state_interval_s` before."""
    settings = {"core": core, "state_dir": str(tmp_path / "state"), "state_interval_s": 1}
    agent = start(**settings)
    send_udp(agent, b"dg.a:100|g\ndg.a:+5|g\nother:1|g|#a:b")
    wait_until(lambda: agent.metric("lines_total") == 3)
    if end == signal.SIGKILL:
        wait_until(lambda: agent.metric("state_written_timestamp_seconds") > 0)
    agent.stop(end)
    agent = start(**settings)
    send_udp(agent, b"dg.a:+1|g")
    wait_until(lambda: agent.metric("lines_total") == 1)
    assert agent.metric("state_errors_total") == 0
    code, _, err = agent.stop()
    assert code == 0, err
    assert gauges(indexer)["dg.a"] == 106.0


def test_damaged_state_is_set_aside(start: Callable[..., Process], tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir()
    (path / "last_values").write_bytes(b"MHstate\1 but not really")
    agent = start(state_dir=str(path))
    assert agent.metric('state_errors_total{reason="damaged"}') == 1
    send_udp(agent, b"g:1|g")
    wait_until(lambda: agent.metric("lines_total") == 1)
    code, _, err = agent.stop()
    assert code == 0
    assert err.count("state_damaged") == 1
    assert sorted(entry.name for entry in path.iterdir()) == ["last_values", "last_values.damaged", "lock"]


def test_without_a_state_directory_the_log_says_so_once(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for changes in ({}, {"state_dir": str(tmp_path / "file" / "x"), "state_interval_s": 1}):
        agent = start(**changes)
        code, _, err = agent.stop()
        assert code == 0
        assert err.count("state_off") == 1, err
        assert "deltas of gauges start from 0 after a restart" in err


def test_two_agents_do_not_share_a_state_directory(start: Callable[..., Process], tmp_path: Path) -> None:
    settings = {"state_dir": str(tmp_path / "state"), "unix": "", "unix_stream": ""}
    first, second = start(**settings), start(**settings)
    assert re.search(r"another meterhouse agent \(pid \d+\) uses", second.stop()[2])
    assert "state_off" not in first.stop()[2]


def test_a_state_that_cannot_be_written_is_counted(start: Callable[..., Process], tmp_path: Path) -> None:
    path = tmp_path / "state"
    agent = start(state_dir=str(path), state_interval_s=1)
    (path / "last_values.new").mkdir()
    send_udp(agent, b"g:1|g")
    wait_until(lambda: agent.metric('state_errors_total{reason="not_written"}') > 0)
    assert agent.metric("state_written_timestamp_seconds") == 0
    (path / "last_values.new").rmdir()
    send_udp(agent, b"g:1|g")
    wait_until(lambda: agent.metric("state_written_timestamp_seconds") > 0)
    assert agent.stop()[0] == 0


def read(url: str, context: ssl.SSLContext) -> str:
    """Return the text of an https page."""
    with urllib.request.urlopen(url, context=context, timeout=DEADLINE_S) as answer:
        return str(answer.read(), "utf-8")


def test_tls_of_all_sockets(start: Callable[..., Process], tmp_path: Path) -> None:
    """Lines by TLS, https to the indexer and for operators; only now is ssl loaded (5.7 MiB of RSS)."""
    ca = Authority(tmp_path)
    pair = ca.issue("agent")
    tls = {"cert": pair.cert, "key": pair.key}
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.cert, pair.key)
    indexer = FakeIndexer(server)
    try:
        agent = start(
            tcp_tls=tls, ops_tls=tls, forward={"url": indexer.url, "drain_s": 60, "tls": {"ca": ca.file}}
        )
        plain = socket.create_connection(address(agent.at.tcp), timeout=DEADLINE_S)
        with ca.context().wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            sock.sendall(b"a:1|c\na:2|c\n")
        url = f"https://{agent.at.ops}/metrics"
        wait_until(lambda: "meterhouse_agent_lines_total 2\n" in read(url, ca.context()))
        code, out, err = agent.stop()
        assert code == 0, err
        assert "ssl" in out.split()
        assert totals(indexer) == {("a", ()): 3.0}
    finally:
        indexer.stop()
