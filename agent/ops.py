"""The agent's HTTP port for operators: /metrics, /healthz, /readyz.

Owns nothing but the serving, in a thread of its own, so that it answers while lines are worked in.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from agent.addresses import bind, name_of
from agent.metrics import CONTENT_TYPE

_TIMEOUT_S: Final = 10.0


class OpsServer:
    """Serves from its making until `stop`. Raises AddressError if the address cannot be had.

    `metrics` gives the text of /metrics; `unready` says why not ready, or nothing.
    """

    def __init__(self, address: str, metrics: Callable[[], bytes], unready: Callable[[], str]) -> None:
        sock = bind("agent.ops", address, socket.SOCK_STREAM)
        sock.setblocking(True)
        self.address = name_of(sock)

        answers: Answers = {
            "/metrics": lambda: (200, CONTENT_TYPE, metrics()),
            "/healthz": lambda: (200, "text/plain", b"ok\n"),
            "/readyz": lambda: _ready(unready()),
        }
        self._server = ThreadingHTTPServer(("", 0), partial(_Handler, answers), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = sock
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, name="ops", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops serving and closes the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _ready(reason: str) -> tuple[int, str, bytes]:
    return (503, "text/plain", f"{reason}\n".encode()) if reason else (200, "text/plain", b"ready\n")


Answers = Mapping[str, Callable[[], tuple[int, str, bytes]]]


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_S

    def __init__(self, answers: Answers, *args: Any) -> None:
        self._answers = answers
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answers one request."""
        answer = self._answers.get(self.path.partition("?")[0])
        status, kind, body = answer() if answer else (404, "text/plain", b"no such page\n")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by http.server
        """Nothing: requests of operators are no events."""
