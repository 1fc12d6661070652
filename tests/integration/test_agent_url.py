"""The number of indexers that one URL leads to, as `meterhouse doctor --agent-url` tells it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle

import pytest

from indexer.diagnosis.agent_url import look_at_url
from indexer.diagnosis.check import CheckResult


@contextmanager
def _balancer(*names: str) -> Iterator[str]:
    """Yield the URL of a balancer whose connections lead to indexers in turn; "" tells no name."""
    turns = cycle(names)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = next(turns)
            wanted = self.headers["Meterhouse-For"]
            self.send_response(421 if name and wanted == "?" else 400)
            if name:
                self.send_header("Meterhouse-Indexer", name)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/base/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("names", "result", "said"),
    [
        (("a",), CheckResult.PASSED, "one indexer"),
        (("a", "b", "c"), CheckResult.FAILED, "leads to 3 indexers"),
        (("",), CheckResult.SKIPPED, "no name"),
    ],
)
def test_indexers_of_a_url(names: tuple[str, ...], result: CheckResult, said: str) -> None:
    with _balancer(*names) as url:
        found = look_at_url(url)
    assert found.result is result
    assert said in found.reason


def test_a_url_that_does_not_answer() -> None:
    with _balancer("a") as url:
        pass
    assert look_at_url(url).result is CheckResult.FAILED
