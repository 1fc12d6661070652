"""An indexer whose answers a test sets, over a real socket; and waiting for conditions."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import msgspec
import pytest

from agent.wire import bundle, heartbeat, metadata
from agent.wire.frame import Frame, decode
from agent.wire.heartbeat import Heartbeat
from tests.support.ports import free_port

DEADLINE_S: Final = 120.0
Answer = int | str | tuple[int, dict[str, str]]


def wait_until(condition: Callable[[], object], what: str = "") -> None:
    """Return when `condition` holds; fail after a deadline."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE_S} s for {what or condition}"
        time.sleep(0.005)


class FakeIndexer:
    """Answers POST /v1/frames by `script`: a status, (status, headers), "hang" or "drop"; then 200.

    Heartbeats are answered by `beat_answer`, metadata by `metadata_script`.

    A stand-in for a server's faults, which the real one cannot be made to have.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context  # https
        self.script: list[Answer] = []
        self.always: Answer | None = None
        self.heartbeats: list[Heartbeat] = []
        self.remembers_s = 0  # in the answers to heartbeats
        self.beat_answer = 200
        self.metadata: list[metadata.MetadataMessage] = []  # of all tries
        self.metadata_script: list[Answer] = []
        #: Does it know bundles? Their frames are answered by the script, one after the other.
        self.bundles: bool | int = False
        self.bundle_sizes: list[int] = []
        self.bodies: list[bytes] = []  # of all tries
        self.accepted: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.times_s: list[float] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self.release = threading.Event()  # ends "hang"
        self._server = self._listen(free_port())  # stays ours while it is stopped
        self.port = self._server.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"

    def frames(self) -> list[Frame]:
        """Return the accepted frames."""
        return [decode(body) for body in self.accepted]

    def stop(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def restart(self) -> None:
        """Listen on its port again."""
        self.release.clear()
        self._server = self._listen(self.port)

    def answer(self, body: bytes, headers: dict[str, str]) -> Answer:
        with self._lock:
            self.bodies.append(body)
            self.headers.append(headers)
            self.times_s.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            answer = self.script.pop(0) if self.script else self.always or 200
        if answer == "hang":
            self.release.wait(DEADLINE_S)
        with self._lock:
            self._at_once -= 1
            if answer == 200:
                self.accepted.append(body)
        return answer

    def answer_path(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        if path == metadata.PATH:
            self.metadata.append(metadata.decode(body))
            return self.metadata_script.pop(0) if self.metadata_script else 200
        if path != heartbeat.PATH:
            return self.answer(body, headers)
        self.heartbeats.append(heartbeat.decode(body))
        return self.beat_answer

    def _listen(self, port: int) -> ThreadingHTTPServer:  # noqa: C901 - the methods of a class inside
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == bundle.PATH:
                    self.answer_bundle(body)
                    return
                answer = fake.answer_path(self.path, body, dict(self.headers))
                if isinstance(answer, str):  # the connection ends without an answer
                    self.close_connection = True
                    return
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                said = {"error": "as told"} | ({"remembers_s": fake.remembers_s} if fake.remembers_s else {})
                self.say(status, headers, msgspec.json.encode(said))

            def answer_bundle(self, body: bytes) -> None:
                if fake.bundles is not True:  # an older one
                    self.say(int(fake.bundles) or 404, {}, b"{}")
                    return
                frames = bundle.decode(body)
                fake.bundle_sizes.append(len(frames))
                answers = []
                for frame in frames:
                    answer = fake.answer(frame, dict(self.headers))
                    if isinstance(answer, str):
                        self.close_connection = True
                        return
                    status, headers = answer if isinstance(answer, tuple) else (answer, {})
                    after_s = float(headers.get("Retry-After", "0"))
                    answers.append(bundle.FrameAnswer(status, retry_after=after_s))
                self.say(200, {}, msgspec.json.encode(bundle.BundleAnswer(answers)))

            def say(self, status: int, headers: dict[str, str], text: bytes) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by http.server
                """Nothing."""

        class Server(ThreadingHTTPServer):
            def get_request(self) -> tuple[socket.socket, Any]:
                sock, peer = super().get_request()
                if fake._context is not None:
                    sock = fake._context.wrap_socket(sock, server_side=True)
                return sock, peer

        server = Server(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server


@pytest.fixture
def indexer() -> Iterator[FakeIndexer]:
    fake = FakeIndexer()
    yield fake
    fake.stop()


def get(url: str) -> tuple[int, str]:
    """Status and text of a GET, for any status."""
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read().decode()
