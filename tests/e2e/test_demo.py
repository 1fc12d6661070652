"""`meterhouse demo` says the numbers that promtool then gets: the product as its first user meets it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.cli.demo_traffic import Truth
from tests.e2e.product import Starter, Up

pytestmark = pytest.mark.e2e

Labels = tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def shop(product: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    """Provide a demo's truth, once all of it is stored."""
    starter = Starter(tmp_path_factory.mktemp("demo"))
    try:
        yield _truth(product, starter)
    finally:
        starter.clear()


def _truth(product: Up, starter: Starter) -> Truth:
    address = f"{product.udp[0]}:{product.udp[1]}"
    demo = starter("demo", "--seconds", "12", "--address", address, "--json", "truth.json", "--seed", "5")
    assert demo.wait() == 0, demo.output
    truth = msgspec.json.decode((starter.folder / "truth.json").read_bytes(), type=Truth)
    window = truth.end - truth.start
    for name, types in (("shop_requests", "counters"), ("shop_request_duration", "distributions")):
        count = (lambda x: x) if types == "counters" else "histogram_count({})".format
        total = sum(c.total for c in truth.counters)
        product.api.wait_until(f"sum({count(f'increase({name}[{window}s])')})", truth.end, total)
    return truth


def promtool(product: Up, kind: str, query: str, *options: str) -> list[dict[str, Any]]:
    """Return the series that Debian's promtool gives."""
    command = ["promtool", "query", "-o", "json", kind, *options, product.api.url, query]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result: list[dict[str, Any]] = json.loads(done.stdout)
    return result


def instant(product: Up, query: str, at: int) -> dict[Labels, float]:
    series = promtool(product, "instant", query, f"--time={at}")
    return {_labels(s["metric"]): float(s["value"][1]) for s in series}


def _labels(metric: dict[str, str]) -> Labels:
    return tuple(sorted((k, v) for k, v in metric.items() if k != "__name__"))


def test_counters(product: Up, shop: Truth) -> None:
    window = shop.end - shop.start
    expected = {_labels(c.labels): c.total for c in shop.counters}
    x = f'shop_requests{{instance!=""}}[{window}s]'  # other tests' series have no instance
    assert instant(product, f"increase({x})", shop.end) == expected
    rates = {labels: total / window for labels, total in expected.items()}
    assert instant(product, f"rate({x})", shop.end) == pytest.approx(rates, rel=1e-12)


def test_counters_over_a_range(product: Up, shop: Truth) -> None:
    """Each bucket by itself; together they are all."""
    options = (f"--start={shop.start + 10}", f"--end={shop.end}", "--step=10s")
    series = promtool(product, "range", "sum(increase(shop_requests[10s]))", *options)
    values = [float(v) for _, v in series[0]["values"]]
    assert len(values) == (shop.end - shop.start) // 10
    assert sum(values) == sum(c.total for c in shop.counters)


def test_percentiles(product: Up, shop: Truth) -> None:
    x = f"increase(shop_request_duration[{shop.end - shop.start}s])"
    for q, field in ((0.5, "p50"), (0.99, "p99")):
        got = instant(product, f"histogram_quantile({q}, {x})", shop.end)
        got |= instant(product, f"histogram_quantile({q}, sum({x}))", shop.end)
        expected = {_labels(d.labels): getattr(d, field) for d in shop.distributions}
        assert got.keys() == expected.keys()
        assert got == pytest.approx(expected, rel=0.011)
    counts = instant(product, f"histogram_count({x})", shop.end)
    assert counts == {_labels(d.labels): d.count for d in shop.distributions if d.labels}


def test_distinct_users(product: Up, shop: Truth) -> None:
    window = shop.end - shop.start
    x = f"sum_over_time(shop_users[{window}s])"
    got = instant(product, f"sum by (region) ({x})", shop.end) | instant(product, f"sum({x})", shop.end)
    expected = {_labels(s.labels): s.distinct for s in shop.sets}
    assert got == pytest.approx(expected, rel=0.015)


def test_gauges(product: Up, shop: Truth) -> None:
    for name in ("shop.queue.depth", "shop.memory.bytes"):
        expected = {_labels(g.labels): g.last for g in shop.gauges if g.name == name}
        assert expected
        assert instant(product, name.replace(".", "_"), shop.end) == expected
        quoted = f'{{"{name}"}}'
        assert instant(product, f"max_over_time({quoted}[1m])", shop.end).keys() == expected.keys()


def test_query_and_explain_print_it(product: Up, shop: Truth, start: Starter) -> None:
    """The commands that the README shows."""
    at, window = str(shop.end), shop.end - shop.start
    asked = f"sum by (route) (increase(shop_requests[{window}s]))"
    query = start("query", asked, "--url", product.api.url, "--time", at)
    assert query.wait() == 0, query.output
    total = sum(c.total for c in shop.counters if c.labels["route"] == "/checkout")
    assert f'{{route="/checkout"}} {total:g}' in " ".join(query.output.split())
    ranged = start("query", asked, "--url", product.api.url, "--time", at, "--range", "1m", "--chart")
    assert ranged.wait() == 0, ranged.output
    assert any("⠀" < c <= "⣿" for c in ranged.output)
    explain = start("explain", asked, "--url", product.api.url, "--time", at)
    assert explain.wait() == 0, explain.output
    read, remembered = "SELECT" in explain.output, '"blocks"' in explain.output
    assert read or remembered  # cells that the queries before have left in memory need no statement
    wrong = start("query", "sum(", "--url", product.api.url)
    assert wrong.wait() == 1
    assert "bad_data" in wrong.output


def test_demo_says_when_nobody_listens(start: Starter) -> None:
    demo = start("demo", "--seconds", "1", "--address", "127.0.0.1:9")
    assert demo.wait() == 1
    assert "nothing listens at 127.0.0.1:9" in demo.output


def test_truth_is_printed(shop: Truth, tmp_path: Path) -> None:
    from agent.cli.demo import report

    text = report(shop, "meterhouse query")
    assert f"[{shop.start}, {shop.end})" in text
    assert "meterhouse query" in text
