"""A real Prometheus scrapes the agent of a running product: both answer the same to the same queries.

Two of them: one reads OpenMetrics, the other protobuf with native histograms.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.e2e.product import Api, Starter, Up, get, wait_for
from tests.support.ports import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="NO PROMETHEUS: apt-get install prometheus"
    ),
]

DEADLINE_S = 120.0
#: Lines of the first moment, and of each later one.
FIRST = ("hits_total:1|c|#route:a", "plain:1|c", "lat:0.3|d")
LATER = ("hits_total:40|c|#route:a", "plain:10|c", "shop.temp:21.5|g|#k8s.pod:p", "users:a|s", "users:b|s",
         "lat:0.3|d", "lat:0.7|d", "lat:5|d", "lat:0|d")  # fmt: skip
TIMES = 50


class Servers:
    """The product, and the servers that scrape its agent: by text, and by protobuf."""

    def __init__(self, up: Up, text: Api, native: Api) -> None:
        self.up = up
        self.text = text
        self.native = native

    def all_give(self, query: str, value: float) -> None:
        for api in (self.up.api, self.text, self.native):
            wait_until(api, query, value)


def wait_until(api: Api, query: str, value: float) -> None:
    """Return when the query gives at least the value; fail when it gives more."""
    got = wait_for(lambda: _reached(api, query, value), f"{api.url}: {query} == {value}", DEADLINE_S)
    assert got == value


def agree(query: str, ours: Api, theirs: Api, *, rel: float = 1e-9) -> None:
    """Return when both give the same series and values, as of one time. A scrape that fails shows none."""

    def same() -> bool:
        now_s = time.time()
        wanted, found = ours.instant(query, now_s), theirs.instant(query, now_s)
        return bool(wanted) and found == pytest.approx(wanted, rel=rel)

    wait_for(same, f"{query} is the same at {theirs.url}", DEADLINE_S)


def _reached(api: Api, query: str, value: float) -> float | None:
    got = api.one(query, time.time())
    return got if got is not None and got >= value else None


def _prometheus(start: Starter, agent: str, name: str, *flags: str) -> Api:
    config = {"scrape_configs": [{
        "job_name": "statsd", "scrape_interval": "1s", "scrape_timeout": "1s",
        "metrics_path": "/metrics/statsd", "static_configs": [{"targets": [agent.removeprefix("http://")]}],
        "metric_relabel_configs": [{"regex": "instance|job", "action": "labeldrop"}],
    }]}  # fmt: skip
    file = start.folder / f"{name}.yml"
    file.write_text(json.dumps(config))  # JSON is YAML
    port, data = free_port(), start.folder / name
    program = shutil.which("prometheus") or "prometheus"
    start(f"--web.listen-address=127.0.0.1:{port}", f"--config.file={file}",
          f"--storage.tsdb.path={data}", *flags, program=(program,))  # fmt: skip
    api = Api(f"http://127.0.0.1:{port}")
    wait_for(lambda: get(f"{api.url}/-/ready")[0] == 200, f"{name} is ready", DEADLINE_S)
    return api


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Provide all servers with the same lines: first some, then more once these were scraped."""
    start = Starter(tmp_path_factory.mktemp("exposition"))
    try:
        up = start.up(environ={
            "METERHOUSE_AGENT__EXPOSITION": "true",
            "METERHOUSE_AGENT__SPOOL__CHECKPOINT_MS": "200",  # open buckets are shown, too
            "METERHOUSE_SHIM__LOOKBACK_S": "3600",  # the lines are sent once, as windows have it below
        })  # fmt: skip
        native = _prometheus(start, up.agent, "native", "--enable-feature=native-histograms")
        found = Servers(up, _prometheus(start, up.agent, "text"), native)
        up.send(FIRST)
        for api in (found.text, found.native):
            wait_until(api, "plain", 1)
        up.send(LATER * TIMES)
        for api in (found.text, found.native):
            wait_until(api, "count_over_time(plain[1h]) >= bool 10", 1)
        yield found
    finally:
        start.clear()


def test_totals_are_the_same(servers: Servers) -> None:
    servers.all_give("hits_total", 1 + 40 * TIMES)
    servers.all_give("plain", 1 + 10 * TIMES)
    servers.all_give('shop_temp{k8s_pod="p"}', 21.5)
    servers.all_give("users", 2)


def test_increases_and_rates_are_the_same(servers: Servers) -> None:
    """But for the first increment, which a Prometheus cannot see, and its extrapolation."""
    servers.all_give("hits_total", 1 + 40 * TIMES)
    wait_until(servers.up.api, "increase(hits_total[1h])", 1 + 40 * TIMES)
    for query in ("increase(hits_total[1h])", "rate(hits_total[1h])"):
        for api in (servers.text, servers.native):
            agree(query, servers.up.api, api, rel=0.2)
    for api in (servers.text, servers.native):
        wait_until(api, "max_over_time(plain[1h]) - min_over_time(plain[1h])", 10 * TIMES)


def test_classic_buckets_are_the_same(servers: Servers) -> None:
    count = 1 + 4 * TIMES
    for api in (servers.up.api, servers.text):
        wait_until(api, "lat_count", count)
    agree("lat_bucket", servers.up.api, servers.text)
    assert len(servers.up.api.instant("lat_bucket", time.time())) > 10
    agree("histogram_quantile(0.9, lat_bucket)", servers.up.api, servers.text)
    agree("lat_sum", servers.up.api, servers.text)


def test_native_histograms_are_the_same(servers: Servers) -> None:
    count = 1 + 4 * TIMES
    for api in (servers.up.api, servers.native):
        wait_until(api, "histogram_count(lat)", count)
    for query in ("histogram_sum(lat)", "histogram_quantile(0.9, lat)", "histogram_fraction(0, 0.5, lat)"):
        # Prometheus 2.42 interpolates within a bucket in a straight line.
        agree(query, servers.up.api, servers.native, rel=0.03)


def test_promtool_accepts_the_text(servers: Servers) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("NO PROMTOOL: apt-get install prometheus")
    status, text = get(f"{servers.up.agent}/metrics/statsd")
    assert status == 200
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    said = (checked.stdout + checked.stderr).decode()
    assert checked.returncode in (0, 3), said  # 3: it would like other names, and help
    assert "error while linting" not in said
