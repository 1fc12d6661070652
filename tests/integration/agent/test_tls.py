"""TLS of the agent's listeners, over real sockets: TCP StatsD in its loop, and the port for operators."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.net.sockets import bind, split_host_port
from agent.net.tls import TlsError, listener_contexts
from agent.receive.http_guard import HttpGuard
from agent.receive.stream import StreamLimits, StreamListener
from agent.receive.stream_splitter import LineSplitter
from agent.receive.tls_listener import TlsAcceptor
from agent.runtime.logs import Log
from agent.settings import Tls
from agent.telemetry import admin_http
from agent.telemetry.admin_http import AdminServer
from tests.integration.agent.conftest import wait_until
from tests.integration.agent.sinks import DEADLINE_S, Got, TestLoop
from tests.support.certificates import Authority

LINES = b"".join(b"%d:1|c\n" % i for i in range(50_000))  # many records
PLAIN_HTTP = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def loop() -> Iterator[TestLoop]:
    with TestLoop() as loop:
        yield loop


class Tcp:
    """A listener with TLS, and clients of it in threads."""

    def __init__(self, loop: TestLoop, tls: Tls, handshake_s: float = 10.0, most: int = 3) -> None:
        self.got = Got()
        self._loop = loop
        sock = bind("agent.tcp", "127.0.0.1:0", socket.SOCK_STREAM)
        self.port: int = sock.getsockname()[1]
        acceptor = TlsAcceptor(listener_contexts("agent.tcp_tls", tls, Log()), Log())
        self.listener = StreamListener(
            loop,
            sock,
            self.got,
            lambda: HttpGuard(LineSplitter(100)),
            StreamLimits(most, handshake_s=handshake_s),
            Log(),
            secure=acceptor.stream,
        )

    def closed(self, reason: str) -> int:
        return self.listener.received.closed_connections[reason]

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)

    def send(self, context: ssl.SSLContext, data: bytes) -> list[Exception]:
        """Connect, send and close in a thread while the loop runs; return the error there."""
        problems: list[Exception] = []

        def client() -> None:
            try:
                with context.wrap_socket(self.raw(), server_hostname="127.0.0.1") as sock:
                    sock.sendall(data)
                    sock.unwrap()
            except OSError as e:
                problems.append(e)

        thread = threading.Thread(target=client)
        thread.start()
        self._loop.until(lambda: not thread.is_alive())
        return problems


def test_lines_over_tls(loop: TestLoop, ca: Authority) -> None:
    tcp = Tcp(loop, ca.listener(ca.issue("server")))
    tcp.send(ca.context(), LINES)
    tcp.send(ca.context(), b"no newline:1|c")
    loop.until(lambda: not tcp.listener.connections)
    assert b"\n".join(tcp.got.lines) == LINES + b"no newline:1|c"
    tcp.listener.stop()


def test_who_is_refused(
    loop: TestLoop, ca: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tcp = Tcp(loop, ca.listener(ca.issue("server"), required=True))
    other = Authority(tmp_path, "other")
    refused = [ca.context(), ca.context(other.issue("foreign")), ca.context(ca.issue("old", expired=True))]
    for number, context in enumerate(refused, 1):
        tcp.send(context, b"bad:1|c\n")
        loop.until(lambda number=number: tcp.closed("handshake_failed") == number)
    with tcp.raw() as plain:
        plain.sendall(b"plain:1|c\n")
        loop.until(lambda: tcp.closed("handshake_failed") == 4)
    tcp.raw().close()  # just goes: not worth a word
    assert tcp.send(ca.context(ca.issue("client")), b"good:1|c\n") == []
    loop.until(lambda: not tcp.listener.connections)
    assert tcp.got.lines == [b"good:1|c"]
    assert tcp.closed("handshake_failed") == 4
    assert "peer did not return a certificate" in caplog.text
    tcp.listener.stop()


def test_half_handshakes_have_a_deadline_and_make_room(loop: TestLoop, ca: Authority) -> None:
    tcp = Tcp(loop, ca.listener(ca.issue("server")), handshake_s=2.0)
    with contextlib.ExitStack() as stack:
        half = [stack.enter_context(tcp.raw()) for _ in range(9)]
        for sock in half:
            sock.sendall(b"\x16\x03\x01")
        loop.until(lambda: tcp.closed("room") == 6)
        while tcp.send(ca.context(), b"let in:1|c\n"):
            pass  # a busy machine took longer than 2 s
        loop.until(lambda: tcp.got.lines == [b"let in:1|c"])
        loop.until(lambda: not tcp.listener.connections)
        assert tcp.closed("handshake_timeout") >= 1
        assert tcp.listener.received.refused_connections == 0
        for sock in half:
            with contextlib.suppress(ConnectionError):
                assert sock.recv(1) == b""
    tcp.listener.stop()


def test_http_inside_is_refused(loop: TestLoop, ca: Authority) -> None:
    tcp = Tcp(loop, ca.listener(ca.issue("server")))
    tcp.send(ca.context(), PLAIN_HTTP + b"a:1|c\n")
    loop.until(lambda: tcp.closed("http_request") == 1)
    assert tcp.got.lines == []
    tcp.listener.stop()


def test_a_connection_that_is_cut_does_not_end_a_line(loop: TestLoop, ca: Authority) -> None:
    """Without TLS's own goodbye the last line may be half of one."""
    tcp = Tcp(loop, ca.listener(ca.issue("server")))

    def client() -> None:
        sock = ca.context().wrap_socket(tcp.raw(), server_hostname="127.0.0.1")
        sock.sendall(b"whole:1|c\nhalf:1")
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
        sock.close()

    thread = threading.Thread(target=client)
    thread.start()
    loop.until(lambda: tcp.listener.received.cut_off == 1)
    thread.join()
    assert tcp.got.lines == [b"whole:1|c"]
    tcp.listener.stop()


class Ops:
    """The port for operators with TLS."""

    def __init__(self, tls: Tls) -> None:
        self.acceptor = TlsAcceptor(listener_contexts("agent.ops_tls", tls, Log()), Log())
        self._server = AdminServer("127.0.0.1:0", lambda: b"text", lambda: "", self.acceptor)
        self.address = split_host_port("", self._server.address)

    def __enter__(self) -> Ops:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def get(self, context: ssl.SSLContext) -> str:
        host, port = self.address
        try:
            with urllib.request.urlopen(
                f"https://{host}:{port}/metrics", context=context, timeout=120
            ) as answer:
                return str(answer.read(), "utf-8")
        except OSError as e:
            return str(e)


def test_ops_by_https(ca: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = Authority(tmp_path, "other")
    with Ops(ca.listener(ca.issue("server"), required=True)) as at:
        assert at.get(ca.context(ca.issue("client"))) == "text"
        assert at.get(ca.context()) != "text"
        assert at.get(ca.context(ca.issue("old", expired=True))) != "text"
        assert "certificate verify failed" in at.get(other.context())
        with socket.create_connection(at.address, timeout=120) as plain:
            plain.sendall(PLAIN_HTTP)
            assert not plain.recv(100).startswith(b"HTTP/1.1 2")
        wait_until(lambda: at.acceptor.failed == 4)
        wait_until(lambda: "handshake_failed listener=ops peer=127.0.0.1" in caplog.text)  # told last


def test_half_handshakes_do_not_silence_ops(ca: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_http, "_TIMEOUT_S", 1.0)
    with Ops(ca.listener(ca.issue("server"))) as at, contextlib.ExitStack() as stack:
        half = [
            stack.enter_context(socket.create_connection(at.address, timeout=120))
            for _ in range(admin_http.MAX_CONNECTIONS + 6)
        ]
        # Within its second, which a busy machine may not keep at the first try.
        wait_until(lambda: at.get(ca.context()) == "text")
        for sock in half:
            with contextlib.suppress(ConnectionError):
                assert sock.recv(1) == b"", "ended"


def test_files_change(ca: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A new pair makes a new context; a broken file keeps the old one and is logged once."""
    pair = ca.issue("server")
    now_s = [0.0]
    contexts = listener_contexts("agent.tcp_tls", ca.listener(pair), Log(), lambda: now_s[0])
    first = contexts.current()
    Path(pair.key).write_text("broken")
    assert contexts.current() is first, "looked at once a second"
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            now_s[0] += 1.5
            assert contexts.current() is first
    assert caplog.text.count("certificates_not_read") == 1
    assert f"agent.tcp_tls.key = '{pair.key}'" in caplog.text
    ca.issue("server")
    now_s[0] += 1.5
    second = contexts.current()
    assert second is not first
    assert contexts.current() is second
    Path(pair.cert).unlink()
    now_s[0] += 1.5
    assert contexts.current() is second
    assert "No such file" in caplog.text


def test_a_key_that_others_may_read_is_warned_of(ca: Authority, caplog: pytest.LogCaptureFixture) -> None:
    pair = ca.issue("server")
    listener_contexts("indexer.tls", ca.listener(pair), Log())
    assert "readable_key" not in caplog.text
    Path(pair.key).chmod(0o644)
    listener_contexts("indexer.tls", ca.listener(pair), Log())
    assert "readable_key setting=indexer.tls.key" in caplog.text


def test_files_that_do_not_fit(ca: Authority, tmp_path: Path) -> None:
    one, two = ca.issue("one"), ca.issue("two")
    with pytest.raises(TlsError, match="key values mismatch: expected PEM files"):
        listener_contexts("indexer.tls", Tls(cert=one.cert, key=two.key), Log())
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(TlsError, match=r"indexer\.tls\.client_ca = .*: expected a PEM file of certificates"):
        listener_contexts("indexer.tls", Tls(cert=one.cert, key=one.key, client_ca=str(empty)), Log())
    with pytest.raises(TlsError, match="Is a directory"):
        listener_contexts("indexer.tls", Tls(cert=str(tmp_path), key=one.key), Log())


@pytest.mark.parametrize(
    "given", [{"cert": "a"}, {"key": "a"}, {"client_ca": "a"}, {"require_client_cert": True}]
)
def test_settings_that_do_not_fit(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Tls(**given)  # type: ignore[arg-type]
