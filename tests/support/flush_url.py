"""A URL that answers when a product has stored all lines it was sent, for programs that load and then ask.

The conformance kit asks it after its lines are sent (`--flush-url`): on a busy machine a fixed pause would be
too short.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from tests.e2e.product import Up, get, wait_for

#: For the kit's `--settle`: seconds of sleep after the URL answered. The lines are of the past: no live edge.
SETTLE_S: Final = "1"
_DEADLINE_S: Final = 300.0
#: Looks at the agent that must agree: lines may be between the socket and the counters.
_STEADY: Final = 10
_EMPTY: Final = ("entries", "unsent_frames", "connections")


@contextmanager
def flush_url(product: Up) -> Iterator[str]:
    """Yield the URL; lines must be of past buckets, which leave the agent at once."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wait_until_stored(product.agent)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by http.server
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wait_until_stored(agent: str) -> None:
    """Return when an agent holds no line and no frame, and has read none for some looks."""
    seen: list[float] = []

    def stored() -> bool:
        found = _metrics(agent)
        lines = found.get("lines_total", 0.0)
        if not lines or any(found.get(name) for name in _EMPTY) or (seen and seen[-1] != lines):
            seen.clear()
        seen.append(lines)
        return len(seen) > _STEADY

    wait_for(stored, f"all lines are stored: {_metrics(agent)}", _DEADLINE_S)


def _metrics(agent: str) -> dict[str, float]:
    """Return sums of the agent's metrics by name, without `meterhouse_agent_`."""
    out: dict[str, float] = {}
    for line in get(f"{agent}/metrics")[1].decode().splitlines():
        if line.startswith("meterhouse_agent_"):
            name = line.removeprefix("meterhouse_agent_").partition(" ")[0].partition("{")[0]
            out[name] = out.get(name, 0.0) + float(line.rpartition(" ")[2])
    return out
