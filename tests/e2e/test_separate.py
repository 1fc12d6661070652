"""Services in processes of their own: two agents, two indexers sharing Redis, an API, ClickHouse by HTTP."""

from __future__ import annotations

import time
import urllib.request

from agent.wire.frame import CONTENT_TYPE, encode
from tests.e2e.product import Starter, send_tcp
from tests.e2e.services import Services
from tests.support.frames import FrameRows, make_frame
from tests.support.redis_server import RedisServer

LINES = 3_000


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
