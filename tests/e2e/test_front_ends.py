"""The programs that people look at metrics with, against a running product.

Grafana's own data source class and Prometheus' editor, headless in Node, and clients of npm and PyPI.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import prometheus_pandas.query
import pytest
from prometheus_api_client import PrometheusConnect

from tests.e2e.product import Up, get

pytestmark = pytest.mark.e2e

NODE: Final = Path(__file__).parent / "node"
#: The end of the time range: whole minutes, some time ago, so that all is settled.
END_S: Final = int(time.time()) // 60 * 60 - 300


def _lines() -> list[str]:
    """Half an hour of all four types: one sample of each series a minute."""
    out = []
    for minute in range(30):
        at = f"T{END_S - 1_800 + 60 * minute + 5}"
        for route, status, count in (("/cart", 200, 2), ("/cart", 500, 1), ("/home", 200, 4)):
            out.append(f"fe.requests:{count}|c|#route:{route},status:{status}|{at}")
        out.append(f"fe.temperature:{20 + minute % 5}|g|#room:hall|{at}")
        out += [f"fe.latency:{value}|d|#route:/cart|{at}" for value in (0.1, 0.2, 0.4)]
        out += [f"fe.users:u{(minute + i) % 40}|s|{at}" for i in range(3)]
    return out


@pytest.fixture(scope="module")
def loaded(product: Up) -> Up:
    product.send(_lines())
    product.api.wait_until("sum(increase(fe_requests[30m]))", END_S, 210)
    product.api.wait_until("histogram_count(increase(fe_latency[30m]))", END_S, 90)
    product.api.wait_until("sum_over_time(fe_users[30m])", END_S, 32)
    product.api.wait_until("fe_temperature", END_S, 24)
    return product


@pytest.fixture(scope="module")
def seen(loaded: Up) -> Any:
    """Provide the answers that the front ends of Node got."""
    assert (NODE / "node_modules" / "@grafana").is_dir(), "`make test` installs it with npm ci"
    asked = ["node", str(NODE / "front_ends.js"), loaded.api.url, str(END_S)]
    run = subprocess.run(asked, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-4_000:]
    return json.loads(run.stdout)


@pytest.fixture
def grafana(seen: Any) -> Any:
    return seen["grafana"]


def ours(names: list[str]) -> set[str]:
    """Return the names of this test's metrics: others share the product."""
    return {name for name in names if name.startswith("fe_")}


NAMES: Final = {"fe_requests", "fe_temperature", "fe_latency", "fe_users"}
#: Endpoints that only other servers have: Thanos, Mimir, a ruler.
OTHERS: Final = ("api/v1/status/flags", "config/v1/rules", "api/v1/status/config/ruler")
CLASSIC: Final = {"fe_latency_bucket", "fe_latency_count", "fe_latency_sum"}


# ---------------------------------------------------------------- Grafana


def test_grafana_starts(grafana: Any) -> None:
    assert grafana["health"] == {"resultType": "scalar", "result": [4, "2"]}
    assert grafana["buildinfo"]["application"] == "Meterhouse"
    assert "features" not in grafana["buildinfo"]
    assert grafana["others"] == [404, 404, 404]
    assert grafana["exemplars"] is True
    assert ours(grafana["metrics"]) >= NAMES
    assert {"route", "status", "room"} <= set(grafana["labels"])
    types = {name: grafana["metadata"][name]["type"] for name in NAMES}
    assert types == {
        "fe_requests": "counter", "fe_temperature": "gauge", "fe_latency": "histogram", "fe_users": "gauge",
    }  # fmt: skip


def test_no_request_of_grafana_failed(grafana: Any) -> None:
    failed = [line for line in grafana["log"] if not line.endswith(" 200")]
    assert {line.split()[1] for line in failed} == set(OTHERS)
    assert all(line.endswith(" 404") for line in failed)


def test_grafana_variables(grafana: Any) -> None:
    found = grafana["variables"]
    assert {"__name__", "route", "status", "room"} <= set(found["names"])
    assert found["namesOf"] == ["route", "status"]
    assert found["values"] == ["/cart", "/home"]
    assert found["filtered"] == ["200", "500"]
    assert {"/cart", "/home"} <= set(found["all"])
    assert found["long"] == ["200", "500"], "a variable with 600 values, in a GET"
    assert NAMES <= set(found["metrics"]) <= NAMES | CLASSIC
    at_ms = END_S * 1000
    assert found["result"] == [f'{{route="/cart"}} 90 {at_ms}', f'{{route="/home"}} 120 {at_ms}']
    assert len(found["selector"]) == 1


def test_grafana_adhoc_filters(grafana: Any) -> None:
    found = grafana["adhoc"]
    assert {"route", "status"} <= set(found["keys"])
    assert found["values"] == ["200", "500"]
    assert found["oneOf"] == ["200", "500"]


def values(frame: Any) -> list[float]:
    """Return the values of a frame with a time and a value."""
    [name] = set(frame["fields"]) - {"Time"}
    found: list[float] = frame["fields"][name]
    return found


def test_grafana_range_queries(grafana: Any) -> None:
    found = grafana["queries"]
    # $__rate_interval of 60 s steps and 10 s scrapes is 70 s; the samples are a minute apart.
    by_route = {frame["labels"]["route"]: values(frame) for frame in found["range"]}
    assert set(by_route) == {"/cart", "/home"}
    assert set(by_route["/home"]) <= {4.0, 8.0}
    assert {frame["labels"]["route"] for frame in found["filtered"]} == {"/cart"}
    assert [set(values(frame)) for frame in found["filtered"]] == [{2.0}, {1.0}]


def test_grafana_instant_queries(grafana: Any) -> None:
    found = grafana["queries"]
    assert [values(frame) for frame in found["instant"]] == [[210]]
    assert [values(frame) for frame in found["variable"]] == [[90]]
    assert [values(frame) for frame in found["gauge"]] == [[24]]
    assert [values(frame) for frame in found["set"]] == [[32]]
    [table] = found["table"]
    assert sorted(table["fields"]["route"]) == ["/cart", "/cart", "/home"]
    assert sorted(values_of_table(table)) == [30, 60, 120]


def values_of_table(table: Any) -> list[float]:
    [name] = [name for name in table["fields"] if name.startswith("Value")]
    found: list[float] = table["fields"][name]
    return found


def test_grafana_histograms(grafana: Any) -> None:
    found = grafana["queries"]
    [native] = found["native"]
    assert native["type"] == "heatmap-cells"
    fields = native["fields"]
    cells = list(zip(fields["yMin"], fields["yMax"], fields["count"], strict=True))
    assert sum(count for _, _, count in cells) == 90
    assert {count for *_, count in cells} == {1}
    for low, high, _ in cells:
        assert any(low < value <= high for value in (0.1, 0.2, 0.4)), (low, high)
    # A heatmap of classic buckets: Grafana sorts by `le` and takes the differences.
    [heatmap] = found["heatmap"]
    rows = {name: row for name, row in heatmap["fields"].items() if name != "Time"}
    assert sum(sum(row) for row in rows.values()) == 90
    assert len([row for row in rows.values() if any(row)]) == 3
    [quantile] = found["quantile"]
    assert values(quantile)[0] == pytest.approx(0.2, rel=0.2)


# ---------------------------------------------------------------- Prometheus' editor


def test_the_editor_completes(seen: Any) -> None:
    found = seen["editor"]
    assert set(found["metricNames"]) >= NAMES
    assert {"route", "status"} <= set(found["labelNames"])
    assert sorted(found["labelValues"]) == ["/cart", "/home"]
    assert len(found["series"]) == 3
    assert found["metadata"]["fe_requests"][0]["type"] == "counter"
    assert found["flags"] == {} or found["flags"] == []
    assert set(found["completed"]["metric"]) >= NAMES
    assert {"route", "status"} <= set(found["completed"]["label"])
    assert set(found["completed"]["value"]) == {"/cart", "/home"}


# ---------------------------------------------------------------- clients


def test_prometheus_query(seen: Any) -> None:
    found = seen["prometheusQuery"]
    assert found["instant"]["resultType"] == "vector"
    by_route = {one["labels"]["route"]: one["values"] for one in found["instant"]["result"]}
    assert by_route == {"/cart": [90], "/home": [120]}
    [one] = found["range"]["result"]
    assert set(one["values"]) == {0, 7} or set(one["values"]) == {7}
    assert found["classic"]["result"][0]["values"] == [90]
    assert found["series"] == 3
    assert {"route", "status"} <= set(found["labelNames"])
    assert sorted(set(found["labelValues"]) & {"/cart", "/home"}) == ["/cart", "/home"]
    assert found["metadata"]["fe_requests"][0]["type"] == "counter"
    assert found["rules"] == found["alerts"] == []


def test_prometheus_api_client(loaded: Up) -> None:
    client = PrometheusConnect(url=loaded.api.url)
    assert client.check_prometheus_connection()
    assert set(client.all_metrics()) >= NAMES
    assert client.get_label_values("route")
    assert {"route", "status"} <= set(client.get_label_names())
    at = {"time": END_S}
    found = client.custom_query("sum by (route) (increase(fe_requests[30m]))", params=at)
    assert {one["metric"]["route"]: float(one["value"][1]) for one in found} == {"/cart": 90, "/home": 120}
    start, end = (datetime.fromtimestamp(s, UTC) for s in (END_S - 1_740, END_S))
    [one] = client.custom_query_range("sum(increase(fe_requests[1m]))", start, end, "60")
    assert {float(value) for _, value in one["values"]} == {7}
    [gauge] = client.get_current_metric_value("fe_temperature", {"room": "hall"}, params=at)
    assert gauge["value"] == [END_S, "24"]
    assert client.get_metric_range_data("fe_temperature", start_time=start, end_time=end)
    [count] = client.custom_query("fe_latency_count", params=at)
    assert float(count["value"][1]) == 90


def test_prometheus_pandas(loaded: Up) -> None:
    client = prometheus_pandas.query.Prometheus(loaded.api.url)
    found = client.query("sum by (route) (increase(fe_requests[30m]))", END_S)
    assert dict(found) == {'{route="/cart"}': 90, '{route="/home"}': 120}
    frame = client.query_range("sum(increase(fe_requests[1m]))", END_S - 1_740, END_S, 60)
    assert set(frame.iloc[:, 0]) == {7}
    assert not math.isnan(client.query("fe_latency_sum", END_S).iloc[0])


def test_the_root_is_a_page(loaded: Up) -> None:
    status, body = get(f"{loaded.api.url}/")
    assert status == 200
    assert b"Prometheus" in body
