"""The answers of each type, over the whole path: lines with known truth in, PromQL out (semantics.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.clickhouse.schema import Retention
from shim.model.errors import BadData, QueryError, Unsupported
from shim.model.grid import Grid
from shim.model.labels import get
from shim.model.values import Samples, Vector
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

NOW_S = 20_400 * 86_400
DATABASE = "engine_types"
KEPT = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)


def lines() -> Iterator[str]:
    """Yield an hour, bucket by bucket: the lines of each type are explained where it is tested."""
    for k in range(360):
        t = NOW_S - 3_600 + 10 * k
        for route, factor in (("a", 1), ("b", 3)):
            tags = f"|#route:{route}|T"
            yield f"hits:{2 * factor}|c{tags}{t + 5}"
            for second, value in ((1, k), (4, k + 100), (7, k % 10)):
                yield f"temp:{value * factor}|g{tags}{t + second}"
            yield f"lat:{factor}:{2 * factor}:{(k % 7 + 1) / 2}|d{tags}{t + 5}"
            yield f"users:{route}{k}|s{tags}{t + 5}"
            yield f"users:shared{k % 50}|s{tags}{t + 5}"
    for k in range(6):
        yield f"reset:{(0, 10, 20, 5, 5, 7)[k]}|g|T{NOW_S - 60 + 10 * k + 5}"
    yield f"mixed:4|c|#kind:c|T{NOW_S - 15}"
    yield f"mixed:5|g|#kind:g|T{NOW_S - 15}"
    for tags in ("#r:a", "#r:b"):
        yield f"call:7|ms|{tags}|T{NOW_S - 15}"
    yield f"call:2|c|#r:a|T{NOW_S - 15}"
    yield f"twin:1|c|T{NOW_S - 15}"
    yield f"twin:8|g|T{NOW_S - 15}"
    yield f"http.requests-total:3|c|#http.method:get|T{NOW_S - 15}"
    yield f"own:1:2:3|d|T{NOW_S - 15}"
    yield f"own_count:40|g|T{NOW_S - 15}"


@pytest.fixture(scope="module")
def p(chdb_path: Path) -> Iterator[Pipeline]:
    with embedded(chdb_path, DATABASE) as store:
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT, few_rows=0)
        pipeline.send(lines())
        yield pipeline
        pipeline.close()


def routes(p: Pipeline, query: str, at_s: float = NOW_S) -> dict[str, float]:
    """Values by route, to 9 digits."""
    return {get(k, "route"): round(v, 9) for k, v in p.instant(query, at_s).items()}


def refused(p: Pipeline, query: str) -> QueryError:
    with pytest.raises(QueryError) as raised:
        p.instant(query, NOW_S)
    return raised.value


def infos(p: Pipeline, query: str) -> list[str]:
    return p.answer(query, Grid.instant(NOW_S * 1000)).notes.infos


# ---------------------------------------------------------------- counters


@pytest.mark.parametrize(
    ("query", "a"),
    [
        ("hits", 720), ("increase(hits[1m])", 12), ("rate(hits[1m])", 0.2), ("delta(hits[1m])", 12),
        ("increase(hits[10s])", 2), ("rate(hits[10s])", 0.2),
        # samples: the running total at the end of each bucket
        ("irate(hits[1m])", 0.2), ("idelta(hits[1m])", 2), ("changes(hits[1m])", 5), ("resets(hits[1m])", 0),
        ("last_over_time(hits[1m])", 720), ("first_over_time(hits[1m])", 710),
        ("count_over_time(hits[1m])", 6), ("min_over_time(hits[1m])", 710),
        ("max_over_time(hits[1m])", 720), ("avg_over_time(hits[1m])", 715), ("deriv(hits[1m])", 0.2),
        ("predict_linear(hits[1m], 60)", 732), ("quantile_over_time(0.5, hits[1m])", 715),
        ("present_over_time(hits[1m])", 1), ("timestamp(hits)", NOW_S),
    ],
)  # fmt: skip
def test_counters(p: Pipeline, query: str, a: float) -> None:
    assert routes(p, query)["a"] == a


@pytest.mark.parametrize("offset_s", [10, 60, 600, -600])
def test_offset_and_at_agree_on_all_types(p: Pipeline, offset_s: int) -> None:
    at = NOW_S - 1_200
    for selector in ("hits", "temp", "users", "histogram_count(lat{})", "histogram_sum(rate(lat[5m]{}))",
                     "rate(hits[5m]{})", "sum_over_time(users[5m]{})", "max_over_time(temp[5m]{})",
                     "irate(hits[5m]{})", "lat_count", "avg_over_time(lat[5m]{})"):  # fmt: skip
        template = selector if "{}" in selector else selector + "{}"
        plain = routes(p, template.replace("{}", ""), at - offset_s)
        assert plain.keys() == {"a", "b"}, selector
        assert routes(p, template.replace("{}", f" offset {offset_s}s"), at) == plain, selector
        assert routes(p, template.replace("{}", f" @ {at - offset_s}"), at) == plain, selector
        assert routes(p, template.replace("{}", f" @ {at} offset {offset_s}s"), NOW_S) == plain, selector


def test_what_at_fixes_is_the_same_at_every_step(p: Pipeline) -> None:
    for query in ("hits @ start()", "rate(hits[5m] @ end())", "users @ end()", "lat_count @ start()",
                  f"temp @ {NOW_S - 600}", "sum(increase(hits[5m] @ end()))"):  # fmt: skip
        found = p.range(query, NOW_S - 1_200, NOW_S, 60)
        assert found, query
        assert all(len(set(row)) == 1 and len(row) == 21 for row in found.values()), query


# ---------------------------------------------------------------- gauges


@pytest.mark.parametrize(
    ("query", "a"),
    [
        # the last bucket (k = 359) got 359, 459 and 9
        ("temp", 9), ("timestamp(temp)", NOW_S - 3), ("max_over_time(temp[10s])", 459),
        ("min_over_time(temp[30s])", 7), ("count_over_time(temp[30s])", 9),
        ("sum_over_time(temp[10s])", 359 + 459 + 9), ("avg_over_time(temp[10s])", (359 + 459 + 9) / 3),
        # everything else uses the last values: 7, 8, 9
        ("last_over_time(temp[30s])", 9), ("first_over_time(temp[30s])", 7), ("changes(temp[30s])", 2),
        ("idelta(temp[30s])", 1), ("quantile_over_time(0, temp[30s])", 7), ("deriv(temp[30s])", 0.1),
        ("resets(temp[25s])", 0),
    ],
)  # fmt: skip
def test_gauges(p: Pipeline, query: str, a: float) -> None:
    assert routes(p, query)["a"] == pytest.approx(a)


def test_cumulative_values_sent_as_gauges_are_counters_as_in_prometheus(p: Pipeline) -> None:
    # 0 10 20 5 5 7: one reset, so 10 + 10 + 5 + 0 + 2 = 27 between the first and the last sample, 50 s apart;
    # the window starts 5 s before the first and ends 5 s after the last: extrapolated to all of it, but the
    # first sample is 0 and a counter does not start below it, so only to the end.
    assert p.instant("resets(reset[1m])", NOW_S) == {(): 1.0}
    assert p.instant("increase(reset[1m])", NOW_S)[()] == pytest.approx(27 * 55 / 50)
    assert p.instant("irate(reset[1m])", NOW_S)[()] == pytest.approx(0.2)


# ---------------------------------------------------------------- distributions


def test_distributions(p: Pipeline) -> None:
    truth = [x for k in range(330, 360) for x in (1, 2, (k % 7 + 1) / 2)]  # route a, the last 5 minutes
    assert routes(p, "histogram_count(lat)")["a"] == 1_080
    assert routes(p, "histogram_count(increase(lat[5m]))")["a"] == 90
    assert routes(p, "histogram_sum(increase(lat[5m]))")["a"] == sum(truth)
    assert routes(p, "histogram_avg(rate(lat[5m]))")["a"] == pytest.approx(sum(truth) / 90)
    assert routes(p, "avg_over_time(lat[5m])")["a"] == pytest.approx(sum(truth) / 90)
    assert routes(p, "count_over_time(lat[5m])")["a"] == 90
    assert routes(p, "min_over_time(lat[5m])")["a"] == 0.5
    assert routes(p, "max_over_time(lat[5m])")["a"] == 3.5
    mean = sum(truth) / 90
    spread = math.sqrt(sum((x - mean) ** 2 for x in truth) / 90)
    assert routes(p, "stddev_over_time(lat[5m])")["a"] == pytest.approx(spread)
    assert routes(p, "histogram_stddev(rate(lat[5m]))")["a"] == pytest.approx(spread, rel=0.03)
    below = sum(x <= 1 for x in truth) / 90
    assert routes(p, "histogram_fraction(0, 1, rate(lat[5m]))")["a"] == pytest.approx(below)
    for q in (0, 0.25, 0.5, 0.9, 1):
        exact = sorted(truth)[round(q * 89)]
        assert routes(p, f"quantile_over_time({q}, lat[5m])")["a"] == pytest.approx(exact, rel=0.011)
        assert routes(p, f"histogram_quantile({q}, rate(lat[5m]))")["a"] == pytest.approx(exact, rel=0.011)


def test_classic_names_give_what_the_native_histogram_gives(p: Pipeline) -> None:
    assert routes(p, "rate(lat_count[5m])") == routes(p, "histogram_count(rate(lat[5m]))")
    assert routes(p, "rate(lat_sum[5m])") == routes(p, "histogram_sum(rate(lat[5m]))")
    assert routes(p, "lat_count") == routes(p, "histogram_count(lat)")
    for q in (0.5, 0.9, 0.99):
        native = p.instant(f"histogram_quantile({q}, sum(rate(lat[5m])))", NOW_S)[()]
        classic = p.instant(f"histogram_quantile({q}, sum by (le) (rate(lat_bucket[5m])))", NOW_S)[()]
        assert classic == pytest.approx(native, rel=0.19)  # a boundary to the next is 2^(1/4)
    inf = p.instant('increase(lat_bucket{le="+Inf",route="a"}[5m])', NOW_S)
    assert list(inf.values()) == [90.0]
    ones = p.instant('sum by (le) (increase(lat_bucket{le="1.0",route="a"}[5m]))', NOW_S)
    truth = [x for k in range(330, 360) for x in (1, 2, (k % 7 + 1) / 2)]
    assert ones == {(("le", "1.0"),): float(sum(x <= 1 for x in truth))}


def test_absence_of_classic_names(p: Pipeline) -> None:
    for name in ("lat_bucket", "lat_count", "lat_sum", 'lat_bucket{le="+Inf"}'):
        assert p.instant(f"absent_over_time({name}[5m])", NOW_S) == {}
        assert p.instant(f"absent_over_time({name}[5m])", NOW_S + 3_600) != {}
    assert p.instant('absent_over_time(lat_bucket{le="7"}[5m])', NOW_S) == {}  # any boundary can be asked for
    assert list(p.instant('absent_over_time(lat_bucket{le="x"}[5m])', NOW_S)) == [(("le", "x"),)]


def test_a_stored_metric_of_a_classic_name_wins(p: Pipeline) -> None:
    assert list(p.instant("own_count", NOW_S).values()) == [40.0]
    assert list(p.instant("own_sum", NOW_S).values()) == [6.0]


# ---------------------------------------------------------------- sets


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ('users{route="a"}', 2), ("sum(users)", 3), ('sum_over_time(users{route="a"}[1m])', 12),
        ("sum(sum_over_time(users[1m]))", 18), ("sum(uniq_over_time(users[10m]))", 170),
        ('uniq_over_time(users{route="b"}[10m])', 110), ('users{route="a"} + 1', 3),
        ('users{route="a"} * users{route="a"}', 4), ('users{route="a"} > 1', 2),
        ('users{route="a"} == bool 2', 1), ("count(users)", 2), ("max(users)", 2),
        ('last_over_time(users{route="a"}[5m])', 2), ('present_over_time(users{route="a"}[5m])', 1),
        # sums of unions are unions, however they are nested
        ("sum(sum by (route) (users))", 3), ("sum(sum without (route) (sum by (route) (users)))", 3),
        ("sum(sum by (route) (sum_over_time(users[1m])))", 18), ("sum by (x) (sum without (y) (users))", 3),
        ('timestamp(users{route="a"})', NOW_S), ('-users{route="a"}', -2), ("sum(users offset 10s)", 3),
    ],
)  # fmt: skip
def test_sets(p: Pipeline, query: str, value: float) -> None:
    assert list(p.instant(query, NOW_S).values()) == [value]


def test_a_rate_of_a_set_says_what_is_meant(p: Pipeline) -> None:
    for function in ("rate", "increase", "delta"):
        error = refused(p, f"{function}(users[5m])")
        assert isinstance(error, BadData)
        assert str(error) == f"{function}() of a set: sum_over_time is meant, the union of its members"


# ---------------------------------------------------------------- names, types, absent data


def test_two_types_of_one_name(p: Pipeline) -> None:
    both = {get(k, "kind"): v for k, v in p.instant("mixed", NOW_S).items()}
    assert both == {"c": 4.0, "g": 5.0}
    assert any("mixed" in text and "counter and gauge" in text for text in infos(p, "mixed"))
    for kind, value in (("counter", 4.0), ("gauge", 5.0)):
        picked = f'mixed{{__type__="{kind}"}}'
        assert list(p.instant(picked, NOW_S).values()) == [value]
        assert infos(p, picked) == []
    assert p.instant("sum(mixed)", NOW_S) == {(): 9.0}


def test_a_counter_and_a_timer_of_one_name_and_equal_tags_both_answer(p: Pipeline) -> None:
    value = p.answer("rate(call[1m]) * 60", Grid.instant(NOW_S * 1000)).value
    assert isinstance(value, Vector)
    assert [(get(k, "r"), v[0]) for k, v in zip(value.labels, value.values, strict=True)] == [("a", 2.0)]
    assert [get(k, "r") for k in value.histogram_labels] == ["a", "b"]
    assert any("counter and histogram" in text for text in infos(p, "call"))
    assert p.instant("count(call)", NOW_S) == {(): 3.0}
    assert len(p.instant("histogram_quantile(0.5, call)", NOW_S)) == 2
    assert p.instant('count({__name__=~"call|hits"})', NOW_S) == {(): 5.0}
    assert list(p.instant('call{__type__="counter"}', NOW_S).values()) == [2.0]
    assert p.instant('histogram_sum(sum(call{__type__="histogram"}))', NOW_S) == {(): 14.0}


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("count_over_time(call[1m])", {"a": 1.0, "b": 1.0}),
        ("max_over_time(call[1m])", {"a": 2.0, "b": 7.0}),
        ("timestamp(call)", {"a": NOW_S, "b": NOW_S}),
    ],
)
def test_where_both_types_of_a_name_would_be_numbers_the_first_answers_and_it_says_so(
    p: Pipeline, query: str, values: dict[str, float]
) -> None:
    """Not "the same labelset": each of the two is one series only under its own type."""
    assert {get(labels, "r"): v for labels, v in p.instant(query, NOW_S).items()} == values
    function = query.partition("(")[0]
    assert (
        f"{function}() of two types under the same labels: 1 series of the histogram are left out;"
        " __type__ picks one"
    ) in infos(p, query)
    assert p.instant("present_over_time(call[1m])", NOW_S).keys() == {(("r", "a"),), (("r", "b"),)}
    assert p.instant("absent_over_time(call[1m])", NOW_S) == {}


@pytest.mark.parametrize("mode", ["anchored", "smoothed"])
def test_what_is_stored_as_deltas_is_exact_without_samples_around(p: Pipeline, mode: str) -> None:
    for selector in ("hits[1m]", 'call{__type__="counter"}[1m]', "lat_count[1m]"):
        assert p.instant(f"rate({selector} {mode})", NOW_S) == p.instant(f"rate({selector})", NOW_S) != {}
    assert len(p.instant(f"histogram_count(increase(lat[1m] {mode}))", NOW_S)) > 0
    assert p.instant("hits smoothed", NOW_S) == p.instant("hits", NOW_S)


def test_two_floats_of_the_same_labels_cannot_both_be_shown_and_it_says_so(p: Pipeline) -> None:
    assert list(p.instant("twin", NOW_S).values()) == [1.0]
    [info] = infos(p, "twin")
    assert info == (
        'metric "twin" was sent as counter and gauge: 1 series of the gauge are left out, since others have'
        " the same labels; __type__ picks one"
    )
    assert list(p.instant('twin{__type__="gauge"}', NOW_S).values()) == [8.0]


@pytest.mark.parametrize(
    "query",
    [
        "http_requests_total", '{"http.requests-total"}', '{"http.requests-total","http.method"="get"}',
        'http_requests_total{http_method="get"}', 'http_requests_total{"http.method"=~"g.*"}',
        '{__name__=~"http.requests.*"}',
    ],
)  # fmt: skip
def test_names_that_are_no_legacy_names_answer_to_both_forms(p: Pipeline, query: str) -> None:
    shown = (("__name__", "http_requests_total"), ("http_method", "get"))
    assert p.instant(query, NOW_S) == {shown: 3.0}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("deriv(lat[5m])", "deriv() over a distribution"), ("changes(users[5m])", "changes() over a set"),
        ("uniq_over_time(hits[5m])", "uniq_over_time"),
    ],
)  # fmt: skip
def test_what_is_not_built_is_refused_by_name(p: Pipeline, query: str, text: str) -> None:
    error = refused(p, query)
    assert isinstance(error, Unsupported)
    assert text in str(error)


def test_samples_of_distributions_and_sets(p: Pipeline) -> None:
    """One sample at the end of each bucket: the histogram of all so far, the size of the bucket's set."""

    def of(query: str) -> Samples:
        value = p.answer(query, Grid.instant(NOW_S * 1000)).value
        assert isinstance(value, Samples)
        return value

    times_ms = [(NOW_S - s) * 1000 for s in (20, 10, 0)]
    found = of('lat{route="a"}[30s]')
    assert found.histogram_labels == [(("__name__", "lat"), ("route", "a"))]
    assert [t.tolist() for t in found.histogram_times_ms] == [times_ms]
    assert found.histograms[0].count.tolist() == [1074, 1077, 1080]
    members = of('users{route="a"}[30s]')
    assert (members.times_ms.tolist(), members.values.tolist()) == (times_ms, [2, 2, 2])
    buckets = of('lat_bucket{route="a",le="+Inf"}[30s]')
    assert buckets.values.tolist() == [1074, 1077, 1080]
    assert len(of("lat[30s] offset 2h").histograms) == 0
    inner = of('lat{route="a"}[1m:30s]')
    assert inner.histograms[0].count.tolist() == [1071, 1080]
    assert of('hits{route="a"}[1m:20s]').values.tolist() == [712, 716, 720]


@pytest.mark.parametrize(
    ("query", "a"),
    [
        ("histogram_count(irate(lat[1m]))", 0.3), ("histogram_count(idelta(lat[1m]))", 3),
        ("histogram_count(first_over_time(lat[1m]))", 1065), ("changes(lat[1m])", 5), ("resets(lat[1m])", 0),
        ("ts_of_last_over_time(lat[1m])", NOW_S), ("ts_of_first_over_time(lat[1m])", NOW_S - 50),
        ("histogram_count(rate(lat[1m:10s]))", 0.3), ("histogram_count(increase(lat[1m:10s]))", 18),
        ("histogram_count(delta(lat[1m:10s]))", 18), ("histogram_count(last_over_time(lat[1m:20s]))", 1080),
        ("histogram_count(sum_over_time(lat[1m:30s]))", 1071 + 1080),
        ("histogram_count(avg_over_time(lat[1m:30s]))", (1071 + 1080) / 2),
        ("count_over_time(lat[1m:20s])", 3), ("present_over_time(lat[1m:20s])", 1),
        ("max_over_time(histogram_count(increase(lat[10s]))[5m:10s])", 3),
        ('changes(lat_bucket{le="+Inf"}[1m])', 5), ('irate(lat_bucket{le="+Inf"}[1m])', 0.3),
        ("avg_over_time(lat_count[30s])", 1077),
    ],
)  # fmt: skip
def test_samples_of_distributions_in_functions(p: Pipeline, query: str, a: float) -> None:
    assert routes(p, query)["a"] == pytest.approx(a)


def test_functions_of_floats_see_no_histograms_in_a_subquery(p: Pipeline) -> None:
    assert p.instant("max_over_time(lat[5m:1m])", NOW_S) == {}
    assert p.instant("count_over_time(irate(lat[1m])[5m:1m])", NOW_S).keys() == {
        (("route", "a"),), (("route", "b"),)
    }  # fmt: skip


def test_samples_as_an_answer(p: Pipeline) -> None:
    def of(query: str) -> Samples:
        value = p.answer(query, Grid.instant(NOW_S * 1000)).value
        assert isinstance(value, Samples)
        return value

    counter = of('hits{route="a"}[30s]')
    assert counter.values.tolist() == [716, 718, 720]
    assert counter.times_ms.tolist() == [(NOW_S + s) * 1000 for s in (-20, -10, 0)]
    gauge = of('temp{route="a"}[30s]')
    assert gauge.values.tolist() == [7, 8, 9]
    assert gauge.times_ms.tolist() == [(NOW_S + s) * 1000 for s in (-23, -13, -3)]
    assert of("nothing[5m]").values.size == 0
    with pytest.raises(BadData, match='invalid expression type "range vector" for range query'):
        p.range("hits[5m]", NOW_S - 60, NOW_S, 60)


def test_native_histograms_leave_as_histograms(p: Pipeline) -> None:
    value = p.answer('increase(lat{route="a"}[10s])', Grid.instant(NOW_S * 1000)).value
    assert isinstance(value, Vector)
    [h] = value.histograms
    assert (h.count[0], h.sum[0], h.zero[0]) == (3, 4.5, 0)
    assert {int(i): n for i, n in zip(h.positive.indices, h.positive.counts[0], strict=True) if n} == {
        0: 1,
        19: 1,
        32: 1,
    }  # 1, 1.5, 2


def test_groups_times_cells_leave_clickhouse(p: Pipeline) -> None:
    """Pushdown: the number of rows is that of groups and cells, for any number of series and buckets."""
    grid = Grid((NOW_S - 1_800) * 1000, NOW_S * 1000, 60_000)

    def rows(query: str) -> list[int]:
        explain = p.answer(query, grid, instant=False, explain=True).explain
        assert explain is not None
        return [s["rows"] for s in explain["statements"]]

    cells = 30 + 5  # a minute each: the grid's, and those of the first window
    assert rows("sum by (route) (rate(hits[5m]))") == [2 * cells]
    assert rows("sum(rate(hits[5m]))") == [cells]
    assert rows("sum by (route) (rate(lat_count[5m]))") == [2 * cells]
    assert rows("sum(sum_over_time(users[5m]))") == [cells, 31]  # who is alive, and a number a step
    assert rows("max_over_time(lat[5m])") == [2 * cells]


@pytest.mark.parametrize(
    "picked",
    [
        "users > 0", "topk(2, users)", "limitk(2, users)", "sort(users)", "users and on() hits",
        "users unless on() nothing", "users or hits", 'label_replace(users, "r", "$1", "route", "(.*)")',
        'label_join(users, "r", "-", "route")', "last_over_time(users[1m])", "sum by (route) (users) > 0",
        "users > on (route) group_left () (hits * 0)", "topk(5, sum_over_time(users[1h]))",
        "last_over_time(users[5m:1m])", "info(users)",
    ],
)  # fmt: skip
def test_sum_never_adds_the_sizes_of_sets(p: Pipeline, picked: str) -> None:
    """Functions that only pick or rename series show sizes; their sum would not be the union's size."""
    shown = routes(p, picked)
    sizes = [v for k, v in shown.items() if k in ("a", "b")]
    assert len(sizes) == 2
    error = refused(p, f"sum({picked})")
    assert isinstance(error, Unsupported)
    assert "union" in str(error)
    # one set is its own union; computed with, a set is a number
    assert {"a", "b"} <= routes(p, f"sum by (route) ({picked})").keys()
    assert p.instant(f"sum(({picked}) + 0)", NOW_S)[()] >= sum(sizes)
    labels = p.instant(f"sum by (route) ({picked})", NOW_S).keys()
    assert all(name[0] != "\0" for one in labels for name, _ in one)


def test_sums_of_unions_are_unions_whatever_stands_between_other_types(p: Pipeline) -> None:
    assert p.instant("sum(sum by (route) (users))", NOW_S) == p.instant("sum(users)", NOW_S)
    assert p.instant("max(users) + count(users)", NOW_S) == {(): 4.0}
    assert p.instant('sum(users{route="a"} or vector(0))', NOW_S) == {(): 2.0}


def test_classic_quantiles_come_from_the_merged_histogram(p: Pipeline) -> None:
    """Series of other ranges have the same boundaries, so a sum by `le` misses none."""
    by_le = "sum by (le) (increase(lat_bucket[1h]))"
    merged = p.instant(by_le, NOW_S)
    counts = [merged[k] for k in sorted(merged, key=lambda one: float(get(one, "le")))]
    assert counts == sorted(counts)
    assert counts[-1] == p.instant("sum(increase(lat_count[1h]))", NOW_S)[()] == 2160
    per_series = p.instant(f"histogram_quantile(0.9, {by_le})", NOW_S)
    exact = p.instant("quantile_over_time(0.9, lat{route='b'}[1h])", NOW_S)
    assert len(per_series) == len(exact) == 1
    assert p.answer(f"histogram_quantile(0.9, {by_le})", Grid.instant(NOW_S * 1000)).notes.infos == []
    explain = p.answer(by_le, Grid.instant(NOW_S * 1000), explain=True).explain
    alone = p.answer("increase(lat_bucket[1h])", Grid.instant(NOW_S * 1000), explain=True).explain
    assert explain is not None
    assert alone is not None
    assert sum(s["rows"] for s in explain["statements"]) < sum(s["rows"] for s in alone["statements"])
