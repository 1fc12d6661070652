"""The whole path against known truth: lines over TCP with `|T` in the past, answers over HTTP.

Every `increase` over aligned windows is the true count to the last unit; a distribution's count, sum, min
and max are exact and its quantiles within 1.1 %; a set's cardinality is exact below 1,000 and within 1.5 % at
100,000; the identities of a counter hold at every granularity.
"""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

import pytest

from agent.cli.demo_traffic import quantile
from tests.e2e.product import Up, wait_for
from tests.support.flush_url import wait_until_stored

pytestmark = pytest.mark.e2e

DAY_S: Final = 86_400
#: Two whole days, in the past: within the retention of the 10 s rows, out of reach of the live edge.
END: Final = int(time.time()) // DAY_S * DAY_S - DAY_S
BEGIN: Final = END - 2 * DAY_S
#: window -> the stretch whose windows of that width are all compared; the data is dense in its first hours.
STRETCHES: Final = {10: 3_600, 60: 6 * 3_600, 3_600: 2 * DAY_S, 86_400: 2 * DAY_S}

Truth = dict[tuple[str, ...], dict[int, list[float]]]


def _times(rnd: random.Random, n: int) -> list[int]:
    """Half of the times in the first hour, the rest all over, and some on the edges of buckets."""
    out = [BEGIN + int(rnd.random() * (3_600 if rnd.random() < 0.5 else 2 * DAY_S)) for _ in range(n)]
    return [*out, BEGIN, BEGIN + 9, BEGIN + 10, BEGIN + 3_599, BEGIN + 3_600, END - 1]


def _windows(samples: Iterable[tuple[int, float]], width: int) -> dict[int, list[float]]:
    """Window's end -> the values whose time lies in it, by the plain rule of `[t-w, t)`."""
    out: dict[int, list[float]] = defaultdict(list)
    for at, value in samples:
        if at < BEGIN + STRETCHES[width]:
            out[(at - BEGIN) // width * width + BEGIN + width].append(value)
    return out


def _compare(
    product: Up,
    query: str,
    samples: Iterable[tuple[int, float]],
    width: int,
    fold: Callable[[list[float]], float],
    relative: float = 0.0,
) -> None:
    """Every window that has data, against `fold` of the values in it."""
    truth = {t: fold(values) for t, values in _windows(samples, width).items()}
    got: dict[int, float] = {}
    start, end = BEGIN + width, BEGIN + STRETCHES[width]
    for first in range(start, end + 1, 10_000 * width):  # below 11,000 points a request
        last = min(end, first + 9_999 * width)
        for points in product.api.range(query, first, last, width).values():
            got |= points
    assert len(truth) >= 2
    wrong = {
        t: (v, got.get(t))
        for t, v in truth.items()
        if not math.isclose(v, got.get(t, math.nan), rel_tol=relative, abs_tol=1e-9 if relative else 0)
    }
    assert not wrong, (
        f"{query}: {len(wrong)} of {len(truth)} windows differ, such as {next(iter(wrong.items()))}"
    )


@pytest.fixture(scope="module")
def counters(product: Up) -> list[tuple[str, str, int, float]]:
    """(route, host, time, increment) of 12,000 lines; a quarter of them sampled."""
    rnd = random.Random(1)
    out, lines = [], []
    places = [(rnd.choice("abc"), rnd.choice("12345"), at) for at in _times(rnd, 12_000)]
    # Every series has something at the end of every hour, so that it is alive there.
    places += [
        (r, h, hour - 5) for r in "abc" for h in "12345" for hour in range(BEGIN + 3_600, END + 1, 3_600)
    ]
    for route, host, at in places:
        value, rate = rnd.randrange(1, 1_000), rnd.choice((1, 1, 1, 0.25))
        out.append((route, host, at, value / rate))
        sampled = f"|@{rate}" if rate != 1 else ""
        lines.append(f"exact.counter:{value}|c{sampled}|#route:{route},host:{host}|T{at}")
    product.send(lines)
    product.api.wait_until("sum(increase(exact_counter[2d]))", END, sum(v for *_, v in out))
    return out


@pytest.mark.parametrize("width", STRETCHES)
def test_increase_is_what_was_sent(
    product: Up, counters: list[tuple[str, str, int, float]], width: int
) -> None:
    for route in "abc":
        samples = [(at, v) for r, _, at, v in counters if r == route]
        _compare(product, f'sum(increase(exact_counter{{route="{route}"}}[{width}s]))', samples, width, sum)
    one = [(at, v) for r, h, at, v in counters if (r, h) == ("a", "3")]
    _compare(product, f'increase(exact_counter{{route="a",host="3"}}[{width}s])', one, width, sum)


@pytest.mark.parametrize("width", STRETCHES)
def test_identities(product: Up, counters: list[tuple[str, str, int, float]], width: int) -> None:
    api, x = product.api, "exact_counter"
    t = {10: BEGIN + 1_800, 60: BEGIN + 1_800, 3_600: BEGIN + 7_200, DAY_S: END}[width]
    increase = api.instant(f"increase({x}[{width}s])", t)
    assert increase
    rate = api.instant(f"rate({x}[{width}s]) * {width}", t)
    assert rate == pytest.approx(increase, rel=1e-12)
    difference = api.instant(f"{x} - {x} offset {width}s", t)
    assert difference == pytest.approx(increase, rel=1e-12)
    for label in ("route", "host"):
        grouped: dict[tuple[tuple[str, str], ...], float] = defaultdict(float)
        for labels, value in increase.items():
            grouped[((label, dict(labels)[label]),)] += value
        assert api.instant(f"sum by ({label}) (increase({x}[{width}s]))", t) == grouped
    halves = width // 10 // 2 * 10
    if halves:
        split = (
            f"sum(increase({x}[{width - halves}s])) + sum(increase({x}[{halves}s] offset {width - halves}s))"
        )
        assert api.one(split, t) == sum(increase.values())


@pytest.fixture(scope="module")
def distribution(product: Up) -> list[tuple[str, int, float]]:
    """(host, time, value) of 12,000 observations, some negative, some 0."""
    rnd = random.Random(2)
    out, lines = [], []
    for at in _times(rnd, 12_000):
        host, kind = rnd.choice("12"), rnd.choice(("d", "h", "ms"))
        value = round(rnd.lognormvariate(-3, 1), 6) if rnd.random() < 0.97 else rnd.choice((0, -0.5, -2))
        out.append((host, at, float(value)))
        lines.append(f"exact.distribution:{value}|{kind}|#host:{host}|T{at}")
    product.send(lines)
    product.api.wait_until("sum(histogram_count(increase(exact_distribution[2d])))", END, len(out))
    return out


@pytest.mark.parametrize("width", STRETCHES)
def test_distribution_moments_are_exact(
    product: Up, distribution: list[tuple[str, int, float]], width: int
) -> None:
    x, samples = f"exact_distribution[{width}s]", [(at, v) for _, at, v in distribution]
    _compare(product, f"histogram_count(sum(increase({x})))", samples, width, len)
    _compare(product, f"histogram_sum(sum(increase({x})))", samples, width, math.fsum, 1e-12)
    _compare(product, f"min(min_over_time({x}))", samples, width, min)
    _compare(product, f"max(max_over_time({x}))", samples, width, max)
    _compare(product, f"sum(count_over_time({x}))", samples, width, len)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 0.99])
def test_quantiles(product: Up, distribution: list[tuple[str, int, float]], q: float) -> None:
    """Within 1.1 %, for one host and for both."""
    samples = [(at, v) for _, at, v in distribution]
    query = f"histogram_quantile({q}, sum(increase(exact_distribution[1d])))"
    _compare(product, query, samples, DAY_S, lambda vs: quantile(sorted(vs), q), 0.011)
    for host in "12":
        one = [(at, v) for h, at, v in distribution if h == host]
        query = f'quantile_over_time({q}, exact_distribution{{host="{host}"}}[1d])'
        _compare(product, query, one, DAY_S, lambda vs: quantile(sorted(vs), q), 0.011)


@pytest.mark.parametrize("width", STRETCHES)
def test_small_sets_are_exact(product: Up, width: int) -> None:
    """Few hundred members in any window; members come back in other buckets and on other hosts."""
    rnd = random.Random(width)
    name = f"exact_set_{width}"
    samples: list[tuple[int, float]] = []
    lines = []
    for at in _times(rnd, 3_000):
        member = rnd.randrange(900)
        samples.append((at, float(member)))
        lines.append(f"{name}:m{member}|s|#host:{rnd.choice('123')}|T{at}")
    product.send(lines)
    product.api.wait_until(f"sum(sum_over_time({name}[2d]))", END, len({m for _, m in samples}))
    _compare(product, f"sum(sum_over_time({name}[{width}s]))", samples, width, lambda ms: len(set(ms)))


def test_large_set_is_within_one_and_a_half_percent(product: Up) -> None:
    members = 100_000
    product.send(f"exact.large.set:user-{i}|s|#host:{i % 3}|T{BEGIN + i % 7_200}" for i in range(members))
    wait_until_stored(product.agent)
    query = "sum(sum_over_time(exact_large_set[2d]))"
    last, steady = -1.0, 0

    def settled() -> bool:
        nonlocal last, steady
        got = product.api.one(query, END) or 0.0
        steady, last = steady + 1 if got == last else 0, got
        return steady >= 20 and got > members * 0.9

    wait_for(settled, "the large set is there", 240)
    assert last == pytest.approx(members, rel=0.015)


def test_gauge_keeps_every_value(product: Up) -> None:
    """min, max, sum and count of all values, not only the last of a bucket."""
    rnd = random.Random(4)
    samples = [(at, round(rnd.uniform(-50, 50), 3)) for at in sorted(set(_times(rnd, 5_000)))]
    product.send(f"exact.gauge:{v}|g|T{at}" for at, v in samples)
    product.api.wait_until("count_over_time(exact_gauge[2d])", END, len(samples))
    x = "exact_gauge[2d]"
    values = [v for _, v in samples]
    assert product.api.one(f"min_over_time({x})", END) == min(values)
    assert product.api.one(f"max_over_time({x})", END) == max(values)
    assert product.api.one(f"sum_over_time({x})", END) == pytest.approx(math.fsum(values), abs=1e-6)
    assert product.api.one("exact_gauge", END) == values[-1]
    at, value = samples[len(samples) // 2]
    assert product.api.one("last_over_time(exact_gauge[1h])", at // 10 * 10 + 10) == _last(samples, at)
    assert value in values


def _last(samples: list[tuple[int, float]], at: int) -> float:
    return [v for t, v in samples if t // 10 <= at // 10][-1]
