"""The attacks of tests/bench/hostile_tenant.py: small inputs that once stopped everybody, again and again.

An attack runs for some seconds: its clients send the next request when the one before was answered, or
hold connections. Answers are counted by status.
"""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import numpy as np

from agent.wire.frame import CONTENT_TYPE, Counters, Frame, SeriesColumns, Sets, encode
from tests.bench.hostile_load import Client

_DAY_S: Final = 86_400
_FRAME: Final = {"Content-Type": CONTENT_TYPE}
_JSON: Final = {"Content-Type": "application/json"}
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "X-Org-Id": "1", "X-Project-Id": "1"}
_sequence = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Target:
    """Ports of the services."""

    indexer: int
    shim: int


class Attack:
    """Requests by `clients` threads. `make` gives the next: whether to the shim, path, headers, body."""

    def __init__(
        self,
        name: str,
        clients: int,
        make: Callable[[], tuple[bool, str, dict[str, str], bytes]],
        *,
        prepare: Callable[[Target], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._clients = clients
        self._make = make
        self._prepare = prepare
        self._statuses: Counter[int] = Counter()

    def run(self, target: Target, seconds: float) -> None:
        """Attack for that time, and wait for the answers."""
        self._prepare(target)
        end_s = time.monotonic() + seconds
        threads = [threading.Thread(target=self._client, args=(target, end_s)) for _ in range(self._clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def said(self) -> str:
        """How its requests were answered."""
        return ", ".join(f"{status}: {count}" for status, count in sorted(self._statuses.items()))

    def _client(self, target: Target, end_s: float) -> None:
        clients = {False: Client(target.indexer), True: Client(target.shim)}
        while time.monotonic() < end_s:
            to_shim, path, headers, body = self._make()
            self._statuses[clients[to_shim].ask("POST", path, body, headers)] += 1


class HalfRequests(Attack):
    """Connections that never finish their headers, held for the whole time."""

    def __init__(self, name: str, connections: int) -> None:
        super().__init__(name, 0, lambda: (False, "", {}, b""))
        self._connections = connections

    def run(self, target: Target, seconds: float) -> None:
        """Hold connections to both services; those that were closed are opened again."""
        end_s = time.monotonic() + seconds
        held: list[socket.socket] = []
        while time.monotonic() < end_s:
            while len(held) < self._connections:
                port = (target.indexer, target.shim)[len(held) % 2]
                held.append(_half_request(port))
                self._statuses[0] += 1
            time.sleep(0.2)
            held = [one for one in held if not _closed(one)]
        for one in held:
            one.close()


def _half_request(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(b"GET /api/v1/query?query=1 HTTP/1.1\r\nHost: x\r\nX-A: ")
    sock.setblocking(False)
    return sock


def _closed(sock: socket.socket) -> bool:
    try:
        gone = sock.recv(4_096) == b""
    except BlockingIOError:
        return False
    except OSError:
        gone = True
    if gone:
        sock.close()
    return gone


def _frame(**fields: object) -> bytes:
    number = next(_sequence)
    return encode(Frame(agent="first", epoch=1, sequence=number, created_ms=0, **fields))  # type: ignore[arg-type]


def _strings() -> tuple[bool, str, dict[str, str], bytes]:
    return False, "/v1/frames", _FRAME, _BODIES["strings"]


def _sets() -> tuple[bool, str, dict[str, str], bytes]:
    return False, "/v1/frames", _FRAME, _BODIES["sets"]


def _u4(*values: int) -> bytes:
    return np.array(values, "<u4").tobytes()


def _set_frame() -> bytes:
    """One row of 6.5 million equal members."""
    members = 6_500_000
    now_s = int(time.time()) // 10 * 10
    row = Sets(series=_u4(0), bucket=_u4(now_s), length=_u4(members), member=bytes(8 * members))
    return _frame(strings=["s"], series=SeriesColumns(name=_u4(0), tag_count=bytes(2)), sets=row)


_BODIES: Final = {"strings": _frame(strings=["ab"] * 20_000_000), "sets": _set_frame()}


def _days() -> tuple[bool, str, dict[str, str], bytes]:
    now_s = int(time.time())
    message = {"org_id": 1, "project_id": 1, "type": "c", "value": 1, "retention_days": 730}
    name = f"days{next(_sequence)}"
    days = [{**message, "name": name, "timestamp": now_s - day * _DAY_S} for day in range(300)]
    return False, "/v1/messages", _JSON, json.dumps(days).encode()


def _send_wide(target: Target) -> None:
    now_s = int(time.time()) - 20
    message = {"org_id": 1, "project_id": 1, "type": "d", "name": "wide", "timestamp": now_s}
    body = json.dumps([{**message, "value": [value]} for value in (1e-300, 1e300)]).encode()
    Client(target.indexer).ask("POST", "/v1/messages", body, _JSON)


def _wide() -> tuple[bool, str, dict[str, str], bytes]:
    now_s = int(time.time())
    given = {"query": "rate(wide[1h])", "start": now_s - 40_000, "end": now_s, "step": 10}
    return True, "/api/v1/query_range", _FORM, urlencode(given).encode()


_SELECTOR: Final = '{job="x",' + ",".join(f'label_{n}!="value {n}"' for n in range(8_000)) + "}"


def _matchers() -> tuple[bool, str, dict[str, str], bytes]:
    selectors = [_SELECTOR.replace("value", f"value{n}") for n in range(20)]
    return True, "/api/v1/labels", _FORM, urlencode([("match[]", one) for one in selectors]).encode()


_REFUSED: Final = itertools.cycle(("x", "rate(x[5m])", "topk(5, rate(x[5m]))", "x + x", 'x{path=~"path.*"}'))


def _refused() -> tuple[bool, str, dict[str, str], bytes]:
    return True, "/api/v1/query", _FORM, urlencode({"query": next(_REFUSED), "time": time.time()}).encode()


def _answered() -> tuple[bool, str, dict[str, str], bytes]:
    given = {"query": "max(rate(x[5m]))", "time": time.time()}
    return True, "/api/v1/query", _FORM, urlencode(given).encode()


def _past_limits() -> tuple[bool, str, dict[str, str], bytes]:
    """Return a frame of 100,000 series that were never seen."""
    rows, number = 100_000, next(_sequence)
    now_s = int(time.time()) // 10 * 10
    strings = ["n", "k", *(f"{number}-{row}" for row in range(rows))]
    series = SeriesColumns(
        name=_u4(*[0] * rows),
        tag_count=np.ones(rows, "<u2").tobytes(),
        tag_key=np.ones(rows, "<u4").tobytes(),
        tag_value=np.arange(2, rows + 2, dtype="<u4").tobytes(),
    )
    index = np.arange(rows, dtype="<u4").tobytes()
    counters = Counters(index, np.full(rows, now_s, "<u4").tobytes(), np.ones(rows).tobytes())
    return False, "/v1/frames", _FRAME, _frame(strings=strings, series=series, counters=counters)


ATTACKS: Final = (
    Attack("frame of 20,000,000 strings", 2, _strings),
    Attack("16 set frames at once", 16, _sets),
    Attack("300 days in a request", 2, _days),
    Attack("wide distribution", 4, _wide, prepare=_send_wide),
    Attack("20 match[] of 220 kB", 4, _matchers),
    HalfRequests("600 half requests", 600),
    Attack("refused query over all series", 6, _refused),
    Attack("answered query over all series", 6, _answered),
    Attack("frames past the limits", 2, _past_limits),
)
