"""Services in processes of their own: two agents, two indexers sharing Redis, an API, ClickHouse by HTTP."""

from __future__ import annotations

import time
import urllib.request

from agent.frame import CONTENT_TYPE, encode
from tests.e2e.product import Api, Process, Starter, free_port, get, send_tcp, wait_for
from tests.support.frames import FrameRows, make_frame
from tests.support.redis_server import RedisServer

LINES = 3_000


class Services:
    """Starts services and waits until they are ready."""

    def __init__(self, start: Starter, dsn: str, redis_url: str) -> None:
        self._start = start
        self._dsn = dsn
        self._redis_url = redis_url

    def indexer(self) -> tuple[Process, str]:
        port = free_port()
        process = self._start("indexer", environ={
            "METERHOUSE_INDEXER__LISTEN": f"127.0.0.1:{port}",
            "METERHOUSE_INDEXER__DSN": self._dsn,
            "METERHOUSE_INDEXER__REDIS_URL": self._redis_url,
        })  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: get(f"{url}/readyz")[0] == 200, process.output, 60)
        return process, url

    def agent(self, indexer: str, pod: str) -> tuple[Process, int]:
        statsd, ops = free_port(), free_port()
        process = self._start("agent", environ={
            "METERHOUSE_AGENT__UDP": "",
            "METERHOUSE_AGENT__TCP": f"127.0.0.1:{statsd}",
            "METERHOUSE_AGENT__OPS": f"127.0.0.1:{ops}",
            "METERHOUSE_AGENT__NAME": pod,
            "METERHOUSE_AGENT__TAGS": f'{{"pod": "{pod}"}}',
            "METERHOUSE_AGENT__FORWARD__URL": indexer,
        })  # fmt: skip
        wait_for(lambda: get(f"http://127.0.0.1:{ops}/readyz")[0] == 200, process.output, 30)
        return process, statsd

    def api(self) -> Api:
        port = free_port()
        self._start("shim", environ={
            "METERHOUSE_SHIM__LISTEN": f"127.0.0.1:{port}",
            "METERHOUSE_SHIM__DSN": self._dsn,
        })  # fmt: skip
        api = Api(f"http://127.0.0.1:{port}")
        api.wait_until_ready()
        return api


def test_separate_services_give_one_exact_answer(
    start: Starter, http_dsn: str, redis_server: RedisServer
) -> None:
    services = Services(start, http_dsn, redis_server.url)
    (first, first_url), (second, second_url) = services.indexer(), services.indexer()
    now = int(time.time()) // 10 * 10 - 300
    for pod, url in (("one", first_url), ("two", second_url)):
        agent, statsd = services.agent(url, pod)
        send_tcp(
            ("127.0.0.1", statsd),
            [f"jobs.done:2|c|#queue:q{i % 5}|T{now + i % 60 // 10 * 10}" for i in range(LINES)],
        )
        assert agent.terminate(60) == 0, agent.output
    body = encode(make_frame(FrameRows(counters=[("frames", {"to": "both"}, now, 7.0)]), agent="both"))
    for url in (first_url, second_url, first_url):  # the very same frame, to whichever indexer
        request = urllib.request.Request(f"{url}/v1/frames", body, {"Content-Type": CONTENT_TYPE})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200
    api = services.api()
    end = now + 60
    api.wait_until("sum(increase(jobs_done[60s]))", end, 2.0 * 2 * LINES)
    by_pod = api.instant("sum by (pod) (increase(jobs_done[60s]))", end)
    assert api.one("increase(frames[60s])", end) == 7.0
    assert by_pod == {(("pod", "one"),): 2.0 * LINES, (("pod", "two"),): 2.0 * LINES}
    for process in (first, second):
        assert process.terminate(60) == 0, process.output
