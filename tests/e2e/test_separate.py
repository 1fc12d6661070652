"""Services in processes of their own: two agents, two indexers sharing Redis, an API, ClickHouse by HTTP."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

from agent.wire.frame import CONTENT_TYPE, encode
from tests.e2e.product import Starter, send_tcp, wait_for
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
        assert agent.terminate(180) == 0, agent.output
    body = encode(make_frame(FrameRows(counters=[("frames", {"to": "both"}, now, 7.0)]), agent="both"))
    for url in (first_url, second_url, first_url):  # the very same frame, to whichever indexer
        request = urllib.request.Request(f"{url}/v1/frames", body, {"Content-Type": CONTENT_TYPE})
        with urllib.request.urlopen(request, timeout=120) as answer:
            assert answer.status == 200
    api = services.api()
    end = now + 60
    api.wait_until("sum(increase(jobs_done[60s]))", end, 2.0 * 2 * LINES)
    by_pod = api.instant("sum by (pod) (increase(jobs_done[60s]))", end)
    assert api.one("increase(frames[60s])", end) == 7.0
    assert by_pod == {(("pod", "one"),): 2.0 * LINES, (("pod", "two"),): 2.0 * LINES}
    for process in (first, second):
        assert process.terminate(180) == 0, process.output


def test_the_api_shows_the_limits_of_indexers_in_other_processes(start: Starter, http_dsn: str) -> None:
    token = "f3b1c2d4e5a60718293a4b5c6d7e8f90"
    environ = {
        "METERHOUSE_INDEXER__LIMITS__SERIES_PER_DAY": "3",
        "METERHOUSE_INDEXER__UP": "false",  # no series of its own
        "METERHOUSE_INDEXER__TOKENS": json.dumps({token: "*:* write,admin"}),
    }
    services = Services(start, http_dsn)
    (first, url), (second, other_url) = services.indexer(environ), services.indexer(environ)
    urls = json.dumps([url, other_url])
    api = services.api({
        "METERHOUSE_SHIM__INDEXERS__URLS": urls,
        "METERHOUSE_SHIM__INDEXERS__TOKEN": token,
    })  # fmt: skip
    now = int(time.time()) // 10 * 10 - 300

    def send(to: str, number: int, names: range) -> int:
        rows = FrameRows(counters=[("jobs", {"n": str(n)}, now, 1.0) for n in names])
        headers = {"Content-Type": CONTENT_TYPE, "Authorization": f"Bearer {token}"}
        body = encode(make_frame(rows, agent="a", sequence=number))
        request = urllib.request.Request(f"{to}/v1/frames", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as e:
            with e:
                return e.code

    assert send(url, 1, range(3)) == 200

    def limits(not_reached: int | None) -> dict[str, int] | None:
        """Return the limits that are shown when this many indexers did not answer in time."""
        found: dict[str, int] = api.data("status/tsdb").get("limits", {})
        return found if found.get("indexersNotReached") == not_reached else None

    assert wait_for(lambda: limits(None), "both are asked", 240) == {}, "nothing was held back"
    assert send(url, 2, range(10, 14)) == 429
    shown = wait_for(lambda: limits(None), "both are asked", 240)
    assert (shown["maxSeriesPerDay"], shown["seriesLimitedRows"]) == (3, 4)
    assert shown["seriesToday"] >= 3
    assert second.terminate(180) == 0, second.output
    shown = wait_for(lambda: limits(1), "one is asked", 240)
    assert shown["seriesLimitedRows"] == 4
    assert first.terminate(180) == 0, first.output
    assert api.data("status/tsdb")["limits"] == {"indexersNotReached": 2}
