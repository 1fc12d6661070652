"""Two shims, one of them killed, and a Redis that is gone for a while: each tick is delivered."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import redis

from tests.e2e.product import Process, Starter, get, wait_for
from tests.e2e.services import Services
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

TICKS: Final = 40
#: The first subscription has a webhook.
IDS: Final = tuple(f"{n:032x}" for n in (1, 2))
QUERY: Final = "MATCH (metrics_counters) SELECT sum(value) AS n WHERE metric_id = 'hits'"
STREAM: Final = "results"


class Hooks:
    """A receiver of webhooks; the first of every fifty is answered 503."""

    def __init__(self) -> None:
        self.bodies: dict[str, set[bytes]] = {}  # by webhook-id, in the order of arrival
        self._count = 0
        self._lock = threading.Lock()

    def status(self, id_: str, body: bytes) -> int:
        with self._lock:
            self._count += 1
            if self._count % 50 == 1:
                return 503
            self.bodies.setdefault(id_, set()).add(body)
            return 204


@contextmanager
def _receiving(hooks: Hooks) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(hooks.status(self.headers["webhook-id"], body))
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/in"
    finally:
        server.shutdown()
        server.server_close()


def _post(url: str, body: Any) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.status == 200


def test_each_tick_once_over_deaths_of_shims_and_of_redis(
    start: Starter, http_dsn: str, durable_redis: RedisServer
) -> None:
    server = durable_redis
    hooks = Hooks()
    first_s = int(time.time()) // 60 * 60 - (TICKS + 10) * 60
    _, indexer = Services(start, http_dsn).indexer()
    tenant = {"org_id": 1, "project_id": 1}
    _post(f"{indexer}/v1/messages", [
        {**tenant, "type": "c", "name": "hits", "timestamp": first_s + 60 * n, "value": n + 1}
        for n in range(TICKS)
    ])  # fmt: skip

    def shim() -> tuple[Process, str]:
        """Start a shim; return its process, and its URL."""
        url = f"127.0.0.1:{free_port()}"
        process = start("shim", environ={
            "METERHOUSE_SHIM__LISTEN": url,
            "METERHOUSE_SHIM__DSN": http_dsn,
            "METERHOUSE_SHIM__INDEXERS__URLS": json.dumps([indexer]),
            "METERHOUSE_SHIM__LEASE__REDIS_URL": server.url,
            "METERHOUSE_SHIM__LEASE__TTL_S": "3",  # a busy machine renews late
            "METERHOUSE_SHIM__SUBSCRIPTIONS__EVERY_S": "0.05",
            "METERHOUSE_SHIM__SUBSCRIPTIONS__STREAM_URL": server.url,
            "METERHOUSE_SHIM__SUBSCRIPTIONS__STREAM": STREAM,
            "METERHOUSE_SHIM__SUBSCRIPTIONS__WEBHOOK_SECRET": "a secret of 16 bytes or more",
            "METERHOUSE_SHIM__WEBHOOKS__ALLOWED_HOSTS": '["127.0.0.1:*"]',
        })  # fmt: skip
        return process, f"http://{url}"

    client: Any = redis.Redis.from_url(server.url, decode_responses=True)
    with _receiving(hooks) as url:
        for id_, webhook in zip(IDS, (url, ""), strict=True):
            _post(f"{indexer}/v1/subscriptions", {"put": [{
                **tenant, "id": id_, "dataset": "metrics", "entity": "metrics_counters", "query": QUERY,
                "time_window_s": 60, "resolution_s": 60, "since_s": first_s, "webhook": webhook,
            }]})  # fmt: skip
        shims = (shim(), shim())
        wait_for(lambda: client.exists(STREAM), shims[0][0].output, 240)
        held = "meterhouse_shim_leases"
        (holder, _), (_, other) = sorted(shims, key=lambda one: -_metric(one[1], held))
        holder.kill()
        wait_for(lambda: bool(hooks.bodies), "the first webhook", 240)
        server.stop()
        failed = 'meterhouse_shim_lease_failures_total{reason="away"}'
        wait_for(lambda: _metric(other, failed) > 0, "a shim that misses Redis", 240)
        server.start()

        def documents() -> list[Any] | None:
            found = [json.loads(fields["message"]) for _, fields in client.xrange(STREAM)]
            of = [_result(document)[0] for document in found]
            # One subscription may be ahead: there are more ticks than TICKS.
            return found if all(of.count(id_) >= TICKS for id_ in IDS) else None

        delivered = wait_for(documents, "all results in the stream", 240)
        wait_for(lambda: len(hooks.bodies) >= TICKS, "all webhooks", 240)
    truth = [(first_s + 60 * (n + 1), n + 1.0) for n in range(TICKS)]
    for id_ in IDS:
        assert [found for found in map(_result, delivered) if found[0] == id_][:TICKS] == [
            (id_, *one) for one in truth
        ]
    sent = [(id_, json.loads(min(bodies))) for id_, bodies in hooks.bodies.items() if len(bodies) == 1]
    assert [id_ for id_, _ in sent][:TICKS] == [f"{IDS[0]}-{tick_s}" for tick_s, _ in truth]
    assert [_result(document)[1:] for _, document in sent][:TICKS] == truth
    client.close()


def _result(document: Any) -> tuple[str, int, float]:
    """Return the subscription, the tick and the number of a result."""
    assert document["version"] == 3
    of = document["payload"]
    at_s = time.mktime(time.strptime(of["timestamp"], "%Y-%m-%dT%H:%M:%S+00:00")) - time.timezone
    return of["subscription_id"].partition("/")[2], int(at_s), of["result"]["data"][0]["n"]


def _metric(url: str, name: str) -> float:
    text = get(f"{url}/metrics")[1].decode()
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))
