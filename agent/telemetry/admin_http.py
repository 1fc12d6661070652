"""The agent's HTTP port for operators: /metrics, /metrics/statsd, /healthz, /readyz, /debug/top, /-/reload.

Owns only the serving, in threads of its own, so that it answers while lines are processed and while the last
frames are sent. Plain HTTP/1.1 with one answer per connection: http.server would add 7 ms to the start. The
exposition's answer is sent in chunks as it is made.

`POST /-/reload` needs no credential, as the other pages. It reads files again that are on the machine, once a
second at most, and its answer has no word of them. Web pages may not send it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING, Any, Final

from agent.net.sockets import bind, bind_with_retry, bound_address
from agent.runtime.program_version import VERSION_HEADER, program_version
from agent.wire.exposition_text import TEXT_TYPE

if TYPE_CHECKING:
    from agent.exposition.exposition import ScrapeAnswer
    from agent.receive.tls_listener import TlsAcceptor  # not where TLS is off: ssl is memory

_TIMEOUT_S: Final = 10.0
#: How long a scrape of the exposition may last; the wait for a reader is bounded by _TIMEOUT_S as well.
_LONG_ANSWER_S: Final = 60.0
_LINE_BYTES: Final = 8_192
_MAX_HEADERS: Final = 100
#: Default maximum of connections at once, each with a thread.
MAX_CONNECTIONS: Final = 64
_ROOM_S: Final = 1.0
_STATUS: Final = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    500: "Internal Server Error", 503: "Unready",
}  # fmt: skip

Answer = tuple[int, str, bytes]  # status, type, body
Answers = Mapping[str, Callable[[], Answer]]
#: Answers a scrape by its headers, with names in lower case; None: too many at once.
Scraped = Callable[[Mapping[str, str]], "ScrapeAnswer | None"]
#: Path of the exposition.
SCRAPED: Final = "/metrics/statsd"
#: Path that reads files again.
RELOAD: Final = "/-/reload"
#: Headers of a request that are kept.
_HEADERS: Final = ("accept", "accept-encoding", "origin", "sec-fetch-site", "content-length")
#: Bytes of a body that are read, and thrown away.
_MAX_BODY_BYTES: Final = 65_536


@dataclass(frozen=True)
class MorePages:
    """Pages of a running agent: /debug/top, the warning of /readyz, /metrics/statsd, and /-/reload."""

    top: Callable[[], bytes] = lambda: b"{}"
    warning: Callable[[], str] = lambda: ""
    scraped: Scraped | None = None
    reload: Callable[[], Sequence[str]] | None = None


class AdminServer:
    """Serves from its creation until `stop`. Raises AddressError if the address cannot be used.

    `metrics` returns the text of /metrics; `unready` returns the reason for not being ready, or nothing;
    `more` has the pages of a running agent. With `tls` it is https. An address in use is retried for up to
    `wait_s`.
    """

    def __init__(
        self,
        address: str,
        metrics: Callable[[], bytes],
        unready: Callable[[], str],
        tls: TlsAcceptor | None = None,
        wait_s: float = 0.0,
        max_connections: int = MAX_CONNECTIONS,
        more: MorePages | None = None,
    ) -> None:
        sock = bind_with_retry(partial(bind, "agent.ops", address, socket.SOCK_STREAM), wait_s)
        sock.setblocking(True)
        self.address = bound_address(sock)

        more = more or MorePages()
        answers = pages(metrics, unready, more.top, more.warning)
        self._server = _Server(
            tls, max_connections, ("", 0), partial(_Handler, answers, more), bind_and_activate=False
        )
        self._server.socket.close()
        self._server.socket = sock
        self._thread = threading.Thread(target=self._server.serve_forever, name="ops", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close the port; repeated calls do nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


def pages(
    metrics: Callable[[], bytes],
    unready: Callable[[], str],
    top: Callable[[], bytes],
    warning: Callable[[], str],
) -> Answers:
    """Return the function that answers each path."""
    return {
        "/metrics": lambda: (200, TEXT_TYPE, metrics()),
        SCRAPED: lambda: (404, "text/plain", b"agent.exposition is off\n"),
        "/debug/top": lambda: (200, "application/json", top()),
        "/healthz": lambda: (200, "text/plain", b"ok\n"),
        "/readyz": lambda: _ready(unready(), warning()),
    }


def _ready(reason: str, warning: str) -> Answer:
    text = "\n".join(filter(None, (reason or "ready", warning))) + "\n"
    return (503 if reason else 200), "text/plain", text.encode()


class _Server(ThreadingTCPServer):
    """One thread per connection, up to a limit: slow clients must not block others."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, tls: TlsAcceptor | None, max_connections: int, *args: Any, **named: Any) -> None:
        self._tls = tls
        self._free = threading.BoundedSemaphore(max_connections)
        self._open: dict[socket.socket, float] = {}  # with the times until which they may last, oldest first
        super().__init__(*args, **named)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection. Raises OSError."""
        sock, peer = super().get_request()
        return (self._tls.wrap(sock) if self._tls else sock), peer

    def verify_request(self, request: Any, *_: Any) -> bool:
        """Admit a connection if a thread is free, closing the oldest one if necessary."""
        if not self._free.acquire(blocking=False):
            for oldest in list(self._open)[:1]:
                self._end(oldest)
            if not self._free.acquire(timeout=_ROOM_S):
                return False
        self._open[request] = time.monotonic() + _TIMEOUT_S
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection after its TLS handshake."""
        try:
            if self._tls is None or self._tls.shake(request, _TIMEOUT_S, client_address[0]):
                super().process_request_thread(request, client_address)
            else:
                self.shutdown_request(request)
        finally:
            self._open.pop(request, None)
            self._free.release()

    def service_actions(self) -> None:
        """Close connections that take too long; called twice a second."""
        now_s = time.monotonic()
        for sock, until_s in list(self._open.items()):
            if now_s >= until_s:
                self._end(sock)

    def extend(self, request: Any) -> None:
        """Give a connection the time of a long answer."""
        if request in self._open:
            self._open[request] = time.monotonic() + _LONG_ANSWER_S

    def _end(self, sock: socket.socket) -> None:
        """Close a connection."""
        self._open.pop(sock, None)
        with contextlib.suppress(OSError):  # already closed
            sock.shutdown(socket.SHUT_RDWR)


class _Handler(StreamRequestHandler):
    """Handles one request."""

    timeout = _TIMEOUT_S

    def __init__(self, answers: Answers, more: MorePages, *args: Any) -> None:
        self._answers = answers
        self._scraped = more.scraped
        self._reload = more.reload
        self._headers: dict[str, str] = {}
        self._chunked = False
        super().__init__(*args)

    def handle(self) -> None:
        """Answer the request."""
        with contextlib.suppress(OSError):  # the other end went away, or is too slow
            method, path, answer = self._request()
            if answer is None and path == SCRAPED and self._scraped is not None:
                scrape = self._scraped(self._headers)
                if scrape is not None:
                    self._send_pieces(scrape, head_only=method == b"HEAD")
                    return
                answer = 503, "text/plain", b"other scrapes are being answered: try again later\n"
            status, kind, body = answer or self._page(path)
            head = _head(status, kind, f"Content-Length: {len(body)}")
            self.wfile.write(head + (b"" if method == b"HEAD" else body))

    def _request(self) -> tuple[bytes, str, Answer | None]:
        """Read the request: its method, its path, and the answer if it is refused."""
        words = self.rfile.readline(_LINE_BYTES).split()
        method = words[0] if words else b""
        for _ in range(_MAX_HEADERS):
            line = self.rfile.readline(_LINE_BYTES)
            if len(words) != 3 or not line.endswith(b"\n"):
                return method, "", (400, "text/plain", b"not HTTP\n")
            if line in (b"\r\n", b"\n"):
                self._chunked = words[2] != b"HTTP/1.0"
                path = words[1].decode(errors="replace").partition("?")[0]
                if path == RELOAD and self._reload is not None:
                    return method, path, self._reloaded(method, self._reload)
                refused = None if method in (b"GET", b"HEAD") else (405, "text/plain", b"GET or HEAD\n")
                return method, path, refused
            self._keep(line)
        return method, "", (400, "text/plain", b"too many headers\n")

    def _reloaded(self, method: bytes, reload: Callable[[], Sequence[str]]) -> Answer:
        """Read files again; the log alone has the problems, which may quote them."""
        if method != b"POST":
            return 405, "text/plain", b"POST\n"
        if "origin" in self._headers or self._headers.get("sec-fetch-site", "none") != "none":
            return 403, "text/plain", b"not from a web page\n"
        length = self._headers.get("content-length", "")
        if length.isascii() and length.isdigit():
            self.rfile.read(min(int(length[:9]), _MAX_BODY_BYTES))
        try:
            problems = reload()
        except TimeoutError:
            return 503, "text/plain", b"the agent is busy: try again later\n"
        if problems:
            text = f"{len(problems)} problems, which the agent's log names (reload_failed)\n"
            return 500, "text/plain", text.encode()
        return 200, "text/plain", b""

    def _keep(self, line: bytes) -> None:
        name, _, value = line.decode(errors="replace").partition(":")
        if (name := name.strip().lower()) in _HEADERS:
            before = self._headers.get(name)
            self._headers[name] = f"{before},{value.strip()}" if before else value.strip()

    def _page(self, path: str) -> Answer:
        page = self._answers.get(path)
        return page() if page else (404, "text/plain", b"no such page\n")

    def _send_pieces(self, scrape: ScrapeAnswer, *, head_only: bool) -> None:
        """Send an answer of unknown length: in chunks, or to HTTP/1.0 until the connection ends."""
        more = [f"Content-Encoding: {scrape.encoding}"] if scrape.encoding else []
        more += ["Transfer-Encoding: chunked"] if self._chunked else []
        if isinstance(self.server, _Server):
            self.server.extend(self.request)
        with contextlib.closing(scrape.body):
            self.wfile.write(_head(200, scrape.content_type, "Vary: Accept, Accept-Encoding", *more))
            if head_only:
                return
            for piece in scrape.body:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
            if self._chunked:
                self.wfile.write(b"0\r\n\r\n")


def _head(status: int, kind: str, *more: str) -> bytes:
    version = f"{VERSION_HEADER}: {program_version()}"
    lines = (
        f"HTTP/1.1 {status} {_STATUS[status]}",
        f"Content-Type: {kind}",
        *more,
        version,
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()
