"""/metrics/statsd of a running agent, with and without an indexer."""

from __future__ import annotations

import gzip
import http.client
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from agent.exposition.exposition import ScrapeAnswer
from agent.exposition.frame_series import numbers
from agent.telemetry import admin_http
from agent.telemetry.admin_http import AdminServer, MorePages
from tests.integration.agent.agent_process import Process, address, send_tcp, started_agents
from tests.integration.agent.conftest import FakeIndexer, get, wait_until

#: Lines of older buckets are flushed soon after they arrive.
SOON = {"late_ms": 100}


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start agents with an exposition."""
    with started_agents(
        udp="127.0.0.1:0", tcp="127.0.0.1:0", ops="127.0.0.1:0", name="test",
        exposition=True, forward={"url": ""}, flush=SOON,
    ) as start:  # fmt: skip
        yield start


def scrape(
    agent: Process, path: str = "/metrics/statsd", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(*address(agent.at.ops), timeout=120)
    try:
        connection.request(
            "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def shown(agent: Process) -> str:
    return scrape(agent)[1].decode()


def at(seconds_ago: int) -> str:
    return f"|T{int(time.time()) - seconds_ago}"


def test_an_agent_without_an_indexer_serves_its_series(start: Callable[..., Process], tmp_path: Path) -> None:
    agent = start(spool={"path": str(tmp_path / "spool")})
    assert get(f"http://{agent.at.ops}/readyz") == (200, "ready\n")
    assert shown(agent) == ""
    lines = [f"hits_total:2|c|#route:{i}{at(60)}" for i in range(3_000)] + [f"lat:0.3|d{at(60)}"]
    send_tcp(agent, "\n".join(lines).encode() + b"\n")
    wait_until(lambda: agent.metric("exposition_series") == 3_001)
    wait_until(lambda: "lat_count{} 1\n" in shown(agent))
    plain = shown(agent)
    assert plain.count('hits_total{route="') == 3_000
    answer, body = scrape(agent, Accept="application/openmetrics-text", Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    text = gzip.decompress(body).decode()
    found = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    families = {family.name: family for family in found}
    assert {s.value for s in families["hits"].samples if s.name == "hits_total"} == {2.0}
    assert len(families["hits"].samples) == 6_000
    code, _, err = agent.stop()
    assert code == 0
    assert "forwarding_off" in err
    assert "unsent_at_exit" not in err


def test_both_ways_tell_the_same(start: Callable[..., Process], indexer: FakeIndexer) -> None:
    agent = start(forward={"url": indexer.url, "drain_s": 60})
    for second in range(5):
        send_tcp(agent, f"a.b:{second}|c|#k:v{at(60 + 10 * second)}\na_b:1|c|#k:v{at(60)}\n".encode())
    wait_until(lambda: 'a_b{k="v"} 15\n' in shown(agent))
    assert agent.stop()[0] == 0
    assert sum(value for frame in indexer.frames() for value in numbers(frame.counters.value)) == 15


def test_a_long_answer_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections have 10 s; an answer of very many series may take longer."""
    passed_s = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s)
    monkeypatch.setattr(admin_http, "time", clock)
    began = threading.Event()

    def body() -> Generator[bytes]:
        nonlocal passed_s
        yield b"first "
        passed_s = 20.0
        began.wait(1.5)  # connections that last too long are looked for twice a second
        yield b"last"

    pages = MorePages(scraped=lambda _: ScrapeAnswer("text/plain", "", body()))
    server = AdminServer("127.0.0.1:0", lambda: b"", lambda: "", more=pages)
    try:
        assert get(f"http://{server.address}/metrics/statsd") == (200, "first last")
    finally:
        server.stop()


def test_answers_to_other_requests(start: Callable[..., Process]) -> None:
    agent = start()
    send_tcp(agent, f"a:1|c{at(60)}\n".encode())
    wait_until(lambda: "a{} 1\n" in shown(agent))
    for asked, wanted in (
        (b"HEAD /metrics/statsd HTTP/1.1\r\n\r\n", b"Connection: close\r\n\r\n"),
        (b"GET /metrics/statsd?x=1 HTTP/1.0\r\n\r\n", b"\r\n\r\n# TYPE a counter\na{} 1\n"),
        (b"GET /metrics/statsd HTTP/1.1\r\n\r\n", b"\r\n17\r\n# TYPE a counter\na{} 1\n\r\n0\r\n\r\n"),
        (b"POST /metrics/statsd HTTP/1.1\r\n\r\n", b"GET or HEAD\n"),
    ):
        with socket.create_connection(address(agent.at.ops), timeout=120) as sock:
            sock.sendall(asked)
            got = b"".join(iter(partial(sock.recv, 10_000), b""))
        assert got.endswith(wanted), got
    agent.stop(signal.SIGKILL)
    off = start(exposition=False, forward={"url": "http://127.0.0.1:9"})
    answer, body = scrape(off)
    assert (answer.status, body) == (404, b"agent.exposition is off\n")
    off.stop(signal.SIGKILL)
