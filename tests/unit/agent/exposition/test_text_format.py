"""Both text formats: prometheus_client's parsers read back the values, and no text can forge a line."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from agent.aggregate.exponential_buckets import index_of
from agent.exposition.classic_buckets import MAX_BOUNDS, bounds_of, counts_up_to, mapped_bounds
from agent.exposition.totals import HistogramTotal
from agent.wire.metadata import MetricDescription
from shim.catalog.classic_bounds import Extent
from shim.catalog.classic_bounds import bounds_of as shim_bounds_of
from tests.unit.agent.exposition.folded import Folded, T, samples

MIXED = (
    "hits:2|c|#route:a", "reqs_total:3|c", "reqs_total:4|c|#code:200", "temp.out:21.5|g|#k8s.pod:p",
    "users:a|s", "lat:0.1|d", "lat:0.25|d", "lat:2|d", "lat:2|d|@0.3", "neg:-3|d", "zero:0|d", "big:1e300|g",
    "温度:3|g|#場所:家",
)  # fmt: skip


def strict_families(text: str) -> Any:
    return text_string_to_metric_families(text)  # type: ignore[no-untyped-call]


#: Letters, signs and breaks that a format treats specially.
TEXTS = st.text(st.sampled_from('ab\\"{}=,# \n\r\t\x85\u2028é温.-_:1'), min_size=1, max_size=8)


def test_text_of_all_types() -> None:
    help_ = MetricDescription(help='Hits \\ of\n"all".')
    text = Folded().add("hits:2|c|#route:a", "lat:1|d", "g:-0.5|g").text(described={"hits": help_})
    assert (
        text
        == r"""# TYPE g gauge
g{} -0.5
# HELP hits Hits \\ of\n"all".
# TYPE hits counter
hits{route="a"} 2
# TYPE lat histogram
lat_bucket{le="0.8408964152537145"} 0
lat_bucket{le="1.0"} 1
lat_bucket{le="+Inf"} 1
lat_count{} 1
lat_sum{} 1
"""
    )


def test_openmetrics_has_times_of_creation_and_valid_counters() -> None:
    text = Folded().add("hits:2|c", "reqs_total:3|c", "lat:1|d").text(openmetrics=True)
    assert (
        text
        == f"""# TYPE hits unknown
hits{{}} 2
# TYPE lat histogram
lat_bucket{{le="0.8408964152537145"}} 0
lat_bucket{{le="1.0"}} 1
lat_bucket{{le="+Inf"}} 1
lat_count{{}} 1
lat_sum{{}} 1
lat_created{{}} {T}
# TYPE reqs counter
reqs_total{{}} 3
reqs_created{{}} {T}
# EOF
"""
    )


def test_openmetrics_keeps_names_that_would_meet() -> None:
    folded = Folded().add("reqs:1|g", "reqs_total:3|c", "n_total:4|c", "n_created:5|g", "_total:6|c")
    text = folded.text(openmetrics=True)
    assert "# TYPE reqs_total unknown\nreqs_total{} 3\n" in text
    assert "# TYPE n_total unknown\nn_total{} 4\n" in text
    assert "# TYPE _total unknown" in text
    assert samples(strict_families(text))["n_created", frozenset()] == 5


@pytest.mark.parametrize("utf8", [False, True])
def test_parsers_read_the_same_values(utf8: bool) -> None:
    folded = Folded().add(*MIXED)
    plain = samples(text_families(folded.text(utf8=utf8)))
    strict = samples(strict_families(folded.text(openmetrics=True, utf8=utf8)))
    assert (
        strict.items()
        >= {s: v for s, v in plain.items() if s[0] not in ("hits_total", "neg_count", "neg_sum")}.items()
    )
    assert strict["reqs_total", frozenset({("code", "200")})] == 4
    assert strict["hits", frozenset({("route", "a")})] == 2
    assert strict["temp_out", frozenset({("k8s_pod", "p")})] == 21.5
    assert strict["lat_count", frozenset()] == 6  # 3 + 1 / 0.3, rounded
    assert strict["lat_sum", frozenset()] == pytest.approx(2.35 + 2 / 0.3)
    assert ("neg_sum", frozenset()) not in strict
    name, label = ("温度", "場所") if utf8 else ("U___6E29__5EA6_", "U___5834__6240_")
    assert strict[name, frozenset({(label, "家")})] == 3


@given(tags=st.lists(st.tuples(TEXTS, TEXTS), max_size=3), name=TEXTS, utf8=st.booleans())
def test_no_text_forges_a_line_or_a_label(tags: list[tuple[str, str]], name: str, utf8: bool) -> None:
    folded = Folded()
    line = f"{name}:1|c|#{','.join(f'{k}:{v}' for k, v in tags)}".replace("\n", " ")
    folded.add(line, "sure:2|c")
    labels = {label for key in folded.state.published.counters for label in key[1::2]}
    assume(
        not any(label.startswith("__") for label in labels)
    )  # this parser refuses them, Prometheus does not
    text = folded.text(utf8=utf8)
    assert len(text.split("\n")) - 1 == 2 * folded.state.published.series
    found = samples(text_families(text))
    assert found["sure_total", frozenset()] == 2
    assert len(found) == folded.state.published.series


def test_names_that_look_encoded_are_no_second_label() -> None:
    folded = Folded().add("温:1|c|#家:a,U___5BB6_:b", "U___6E29_:2|c")
    assert folded.lines() == {
        'U___6E29_{U__U______5BB6__="b",U___5BB6_="a"}': 1, "U__U______6E29__{}": 2,
    }  # fmt: skip
    assert folded.lines(utf8=True) == {'{"温",U___5BB6_="b","家"="a"}': 1, "U___6E29_{}": 2}


OBSERVED = st.lists(st.floats(-1e6, 1e6).map(lambda v: round(v, 6)), min_size=1, max_size=30)


@given(values=OBSERVED)
def test_boundaries_are_those_of_the_shim(values: list[float]) -> None:
    total = _total(values)
    sides = [[abs(v) for v in values if sign * v > 0] for sign in (1, -1)]
    positive, negative = ((min(side), max(side)) if side else None for side in sides)
    wanted = shim_bounds_of(Extent(positive, negative, zero=0.0 in values))
    assert [*(bound.upper for bound in bounds_of([total])), math.inf] == list(wanted)


@given(values=OBSERVED)
@example(values=[-1.0])
@example(values=[-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
def test_counts_at_boundaries_are_exact(values: list[float]) -> None:
    total = _total(values)
    bounds = bounds_of([total])
    # A boundary is an irrational number, rounded to a float: observations are compared by their buckets. That
    # of a negative one has its boundary farther from zero: -1 is not counted up to -1, here and in the shim.
    wanted = [sum(v <= b.upper * (1 + 1e-15) for v in values) for b in bounds]
    assert counts_up_to(total, bounds) == [*wanted, len(values)]


def test_counts_between_boundaries_are_interpolated() -> None:
    values = [0.2, 0.3, 0.3000001, 0.5, 7.0, -0.25]
    assert counts_up_to(_total(values), mapped_bounds([-1.0, 0.0, 0.25, 1.0, 5.0, 10.0])) == [
        0,
        1,
        2,
        5,
        5,
        6,
        6,
    ]
    many = _total([0.29 + 0.0001 * i for i in range(200)])
    up_to, all_of_them = counts_up_to(many, mapped_bounds([0.3]))
    assert all_of_them == 200
    assert up_to == pytest.approx(100, abs=20)


def test_mapped_boundaries_are_written_as_they_are() -> None:
    described = {"lat": MetricDescription(buckets=(0.5, 1.0, 1e6))}
    text = Folded().add("lat:0.3|d", "lat:1|d", "lat:2e7|d").text(described=described)
    assert [line.partition("{")[2] for line in text.splitlines() if "_bucket" in line] == [
        'le="0.5"} 1', 'le="1.0"} 2', 'le="1e+06"} 2', 'le="+Inf"} 3',
    ]  # fmt: skip


def test_a_wide_range_has_a_bounded_number_of_boundaries() -> None:
    total = _total([5e-324, 1e-200, 1.7e308, -1e300, -1e-300, 0.0])
    bounds = bounds_of([total])
    assert len(bounds) < MAX_BOUNDS
    assert counts_up_to(total, bounds)[-1] == 6


@given(values=OBSERVED, halvings=st.integers(1, 9))
def test_a_coarser_histogram_has_the_same_counts_at_its_own_boundaries(
    values: list[float], halvings: int
) -> None:
    total = coarse = _total(values)
    for _ in range(halvings):
        coarse = coarse.halved()
    assert sum(coarse.positive.values()) == sum(total.positive.values())
    counts = counts_up_to(coarse, bounds_of([coarse]))
    assert counts == sorted(counts)
    assert counts[-1] == len(values)


def _total(values: list[float]) -> HistogramTotal:
    positive: dict[int, float] = {}
    negative: dict[int, float] = {}
    for value in values:
        if value:
            side = positive if value > 0 else negative
            side[index_of(abs(value))] = side.get(index_of(abs(value)), 0.0) + 1
    zero = float(sum(v == 0 for v in values))
    return HistogramTotal(T, math.inf, len(values), sum(values), zero, 5, positive, negative)
