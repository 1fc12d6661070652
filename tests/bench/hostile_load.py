"""Org 2 of tests/bench/hostile_tenant.py: frames and queries by the clock.

Prints a line of JSON for each answer: its request, when it was due, how long it took from then, its status.

python -m tests.bench.hostile_load INDEXER_PORT SHIM_PORT
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

from agent.wire.frame import CONTENT_TYPE, encode
from tests.support.frames import FrameRows, Tags, make_frame

SERIES: Final = 100
#: Seconds between two requests.
INGEST_EVERY_S: Final = 0.4
QUERY_EVERY_S: Final = 0.4
#: A request that takes longer has failed.
MAX_WAIT_S: Final = 30.0
BY_HOST: Final = "sum by (host) (rate(requests[1m]))"
HEADERS: Final = {"X-Org-Id": "2", "X-Project-Id": "1"}

_lock = threading.Lock()


class Client:
    """One connection, made again after it failed."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=MAX_WAIT_S)

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] = HEADERS) -> int:
        """Return the status of an answer that was read; 0 for none."""
        for _ in range(2):
            try:
                self._connection.request(method, path, body or None, headers)
                response = self._connection.getresponse()
                response.read()
                return response.status
            except (TimeoutError, http.client.HTTPException, OSError) as e:
                self._connection.close()
                if isinstance(e, TimeoutError):
                    return 0
        return 0


def send(client: Client, number: int) -> int:
    """One frame of SERIES counters in the bucket of now."""
    now_s = int(time.time()) // 10 * 10
    rows: list[tuple[str, Tags, int, float]]
    rows = [("requests", {"host": f"h{n % 10}", "path": f"/{n}"}, now_s, 1.0) for n in range(SERIES)]
    frame = make_frame(FrameRows(counters=rows), agent=f"second-{os.getpid()}", sequence=number, org_id=2)
    return client.ask("POST", "/v1/frames", encode(frame), {"Content-Type": CONTENT_TYPE})


def query(client: Client, number: int) -> int:
    """Return a range query that is a panel's, or an instant one."""
    now_s = time.time()
    if number % 2:
        given = {
            "query": "sum by (host) (rate(requests[1m]))",
            "start": now_s - 900,
            "end": now_s,
            "step": 15,
        }
        return client.ask("GET", f"/api/v1/query_range?{urlencode(given)}")
    return client.ask(
        "GET", f"/api/v1/query?{urlencode({'query': 'sum(increase(requests[5m]))', 'time': now_s})}"
    )


def repeat(kind: str, port: int, every_s: float, one: Callable[[Client, int], int]) -> None:
    """Ask for ever. Requests due while one waits are left out: a slow machine never catches up."""
    client, due_s = Client(port), time.monotonic()
    for number in itertools.count(1):
        time.sleep(max(0.0, due_s - time.monotonic()))
        status = one(client, number)
        line = json.dumps([kind, due_s, time.monotonic() - due_s, status]) + "\n"
        with _lock:
            sys.stdout.write(line)
            sys.stdout.flush()
        due_s = max(due_s + every_s, time.monotonic())


def main(indexer: int, shim: int) -> None:
    threading.Thread(target=repeat, args=("ingest", indexer, INGEST_EVERY_S, send), daemon=True).start()
    repeat("query", shim, QUERY_EVERY_S, query)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
