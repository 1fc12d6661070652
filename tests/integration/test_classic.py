"""Classic names of distributions: `x_bucket` at any boundary, one ladder per metric, and the label API.

The cases `le-named`, `apdex` and `le-one` are those of ../shared/cases/cases.json.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from indexer.clickhouse.native_format import Ragged
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.store import Store
from shim.catalog import Catalog, MetadataQueries
from shim.model.labels import Labels, get, make
from shim.model.matchers import Matcher
from shim.model.numeric_labels import number_of, number_text
from shim.model.tenancy import Tenant
from shim.settings import CacheSettings, ShimSettings
from tests.support.pipeline import Pipeline
from tests.support.worlds import migrated

NOW_S = 1_800_000_000
DATABASE = "test_classic"
KEPT = Retention(days_10s=4_000, days_60s=4_000, days_1h=4_000, days_1d=4_000)
REQUESTS = (0.05, 0.1, 0.2, 0.25, 0.4, 0.5, 0.6, 0.7, 0.9, 1.5)
ALL = (0, (2**32 - 1) * 1000)


def put_buckets(store: Store, name: str, buckets: Sequence[float]) -> None:
    """Store the buckets of a metric, as a mapping file would give them."""
    store.insert(
        "metric_metadata",
        {
            "org_id": np.array([1], np.uint32),
            "project_id": np.array([1], np.uint32),
            "name": [name],
            "help": [""],
            "unit": [""],
            "buckets": Ragged(np.array([len(buckets)]), np.array(buckets)),
            "updated_ms": np.array([NOW_S * 1000], np.uint64),
        },
    )


def lines() -> list[str]:
    at = f"|T{NOW_S - 20}"
    out = [f"shop.req.duration:{v}|d|#job:web{at}" for v in REQUESTS]
    out += [f"shop.req.duration:{v}|d|#job:api|T{NOW_S - 86_400}" for v in (30.0, 60.0)]
    out += [f"other:{v}|d|#job:web{at}" for v in (100.0, 4_000.0)]
    out += [f"signed:{v}|d{at}" for v in (-3.0, 0.0, 0.5, 7.0)]
    out += [f"zeros:0|d{at}"] * 3
    out += [f"tagged:{v}|d|#quantile:{q}{at}" for v, q in ((1, "0.5"), (9, "0.99"))]
    out += [f"tagged:4|g|#quantile:0.5,kind:gauge{at}"]
    out += [f"mapped.time:{v}|d|#job:web{at}" for v in REQUESTS]
    return out


@pytest.fixture(scope="module", params=["statements", "memory", "http", "org"])
def p(request: pytest.FixtureRequest, chdb_path: Path) -> Iterator[Pipeline]:
    """Cells come from statements alone, and from memory; over HTTP; and of all projects of an org."""
    dsn = f"chdb://{chdb_path}?database={DATABASE}"
    if request.param == "http":
        dsn = f"http://127.0.0.1:{request.getfixturevalue('clickhouse_port')}/{DATABASE}"
    with migrated(dsn, kept=KEPT) as store:
        held = CacheSettings(max_bytes=64 << 20 if request.param == "memory" else 0, fill_after=1)
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT, cache=held)
        pipeline.send(lines())
        put_buckets(store, "mapped.time", (0.1, 0.25, 0.5, 1.0))
        if request.param == "org":
            pipeline.tenant = Tenant(1, None)
        yield pipeline
        pipeline.close()


def labels_of(p: Pipeline, **pairs: str) -> Labels:
    """Labels as answers show them: of a whole org with the project."""
    projects = {} if p.tenant.project_id is not None else {"project_id": "1"}
    return make({**pairs, **projects})


def by_le(p: Pipeline, query: str, at_s: float = NOW_S) -> dict[str, float]:
    found = p.instant(query, at_s)
    out = {get(labels, "le"): value for labels, value in found.items()}
    assert len(out) == len(found)
    return out


def bounds(found: dict[str, float]) -> list[float]:
    return sorted(float(le) for le in found)


WEB = 'job="web"'


@pytest.mark.parametrize(
    ("matcher", "wanted"),
    [
        ('le="0.3"', {"0.3": 4}), ('le="0.30"', {"0.3": 4}), ('le="1"', {"1.0": 9}), ('le="1.0"', {"1.0": 9}),
        ('le=~"1(\\\\.0)?"', {"1.0": 9}), ('le=~"0.15|0.3|\\\\+Inf"', {"0.15": 2, "0.3": 4, "+Inf": 10}),
        ('le="+Inf"', {"+Inf": 10}), ('le="inf"', {"+Inf": 10}), ('le="1e6"', {"1e+06": 10}),
        ('le="0"', {"0.0": 0}),
        ('le="0.3",le!="0.30"', {}), ('le=~"0.1|0.3",le!~"0.1"', {"0.3": 4}), ('le="x"', {}), ('le=""', {}),
        ('le="-1"', {"-1.0": 0}), ('le="NaN"', {}), ('le="-Inf"', {}),
    ],
)  # fmt: skip
def test_a_boundary_that_a_matcher_names(p: Pipeline, matcher: str, wanted: dict[str, float]) -> None:
    for query in ("shop_req_duration_bucket{%s,%s}", "increase(shop_req_duration_bucket{%s,%s}[1m])"):
        assert by_le(p, query % (WEB, matcher)) == pytest.approx(wanted, rel=0.02)
    summed = by_le(p, f"sum by (le) (increase(shop_req_duration_bucket{{{WEB},{matcher}}}[1m]))")
    assert summed == pytest.approx(wanted, rel=0.02)


def test_the_apdex_form(p: Pipeline) -> None:
    share = (
        'sum(rate(shop_req_duration_bucket{le="0.3"}[5m])) by (job)'
        " / sum(rate(shop_req_duration_count[5m])) by (job)"
    )
    assert p.instant(share, NOW_S) == {(("job", "web"),): pytest.approx(0.4)}
    both = (
        '(sum(increase(shop_req_duration_bucket{le="0.3"}[5m])) by (job)'
        ' + sum(increase(shop_req_duration_bucket{le="1.2"}[5m])) by (job)) / 2'
        " / sum(increase(shop_req_duration_count[5m])) by (job)"
    )
    assert p.instant(both, NOW_S) == {(("job", "web"),): pytest.approx(0.65)}


@pytest.mark.parametrize("le", [0.07, 0.25, 0.3, 1.0, 1.1, 1.5])
def test_any_boundary_is_the_share_that_histogram_fraction_gives(p: Pipeline, le: float) -> None:
    counted = by_le(p, f'rate(shop_req_duration_bucket{{{WEB},le="{le}"}}[5m])')
    native = p.instant(
        f"histogram_fraction(-Inf, {le}, rate(shop_req_duration{{{WEB}}}[5m]))"
        f" * histogram_count(rate(shop_req_duration{{{WEB}}}[5m]))",
        NOW_S,
    )
    assert list(counted.values()) == [pytest.approx(value) for value in native.values()]


def test_the_ladder_is_the_same_for_every_selector_and_range(p: Pipeline) -> None:
    """The ladder goes from just under the smallest observation of any series and day to the largest."""
    ladder = bounds(by_le(p, f"shop_req_duration_bucket{{{WEB}}}"))
    assert len(ladder) > 40
    assert ladder[0] < 0.05 <= ladder[1]
    assert ladder[-2] / 2**0.25 < 60 <= ladder[-2]
    assert ladder[-1] == math.inf
    x = "shop_req_duration_bucket"
    for query in (
        f"{x}{{job=~'w.*'}}", f"rate({x}{{job='web'}}[1m])", f"rate({x}{{job='web'}}[2h] offset 10s)",
        f"sum by (le) (rate({x}[5m]))", f"increase({x}{{job='api'}}[1d] offset 1d)",
        f'{{__name__="{x}",job="web"}}', f"irate({x}{{job='web'}}[5m])", f'{x}{{job="web",le!=""}}',
        '{__name__=~"(shop_req_duration|nothing)_bucket",job="web"}',
        f'last_over_time({x}{{job="web"}}[5m])',
    ):  # fmt: skip
        found = by_le(p, query, NOW_S + 86_400 if "offset 1d" in query else NOW_S)
        assert bounds(found) in (ladder, []), query
        assert found or "irate" in query, query


def test_each_metric_of_a_selector_has_its_own_ladder(p: Pipeline) -> None:
    found = p.instant('{__name__=~"(shop_req_duration|other)_bucket",job="web"}', NOW_S)
    for name in ("shop_req_duration_bucket", "other_bucket"):
        here = {get(k, "le") for k in found if get(k, "__name__") == name}
        assert here == by_le(p, f'{name}{{job="web"}}').keys()
    merged = p.instant('sum by (le) (increase({__name__=~"(shop_req_duration|other)_bucket"}[1m]))', NOW_S)
    assert merged[(("le", "+Inf"),)] == 12


def test_matchers_that_name_nothing_choose_from_the_ladder(p: Pipeline) -> None:
    every = by_le(p, "shop_req_duration_bucket")
    assert by_le(p, 'shop_req_duration_bucket{le!="+Inf"}').keys() == every.keys() - {"+Inf"}
    assert by_le(p, 'shop_req_duration_bucket{le!="1"}').keys() == every.keys() - {"1.0"}
    assert by_le(p, 'shop_req_duration_bucket{le=~"[01].*"}').keys() == {le for le in every if le[0] in "01"}


def test_zeros_and_negative_observations(p: Pipeline) -> None:
    found = by_le(p, "signed_bucket")
    ladder = bounds(found)
    assert 0.0 in ladder
    assert ladder[0] <= -3 < ladder[1]
    assert found["0.0"] == 2
    assert found["+Inf"] == 4
    below, above = ladder[ladder.index(0.0) - 1], ladder[ladder.index(0.0) + 1]
    assert below < 0 < above < 0.5  # the bucket of zeros ends before the smallest observation begins
    assert by_le(p, 'signed_bucket{le="0"}') == {"0.0": 2}
    assert by_le(p, "zeros_bucket") == {"0.0": 3, "+Inf": 3}


def test_the_label_api_says_what_queries_show(p: Pipeline) -> None:
    settings, tenant = ShimSettings(), p.tenant
    e = MetadataQueries(Catalog(p.store, settings), settings)

    on: dict[str, list[Matcher]] = {
        "shop_req_duration_bucket": [],
        "shop_req_duration_bucket ": [Matcher("le", "=", "0.3")],
        "other_bucket": [Matcher("le", "!=", "+Inf")],
        "zeros_bucket": [],
    }
    for name, more in on.items():
        matchers = [Matcher("__name__", "=", name.strip()), *more]
        selector = f"{{{','.join(map(str, matchers))}}}"
        shown = p.instant(selector.replace("}", ',job=~".*"}'), NOW_S)
        assert e.label_values(tenant, "le", [matchers], *ALL) == sorted({get(k, "le") for k in shown})
        assert set(e.series(tenant, [matchers], *ALL)) >= shown.keys()
        assert "le" in e.label_names(tenant, [matchers], *ALL)
    everywhere = e.label_values(tenant, "le", [], *ALL)
    assert {"+Inf", "0.0", "1.0"} <= set(everywhere)
    assert all(number_of(le) is not None for le in everywhere)
    assert "le" in e.label_names(tenant, [], *ALL)
    on_name = Matcher("__name__", "=", "shop_req_duration_bucket")
    assert len(e.series(tenant, [[on_name]], *ALL, limit=5)) == 6


def test_the_mapping_file_gives_the_ladder(p: Pipeline) -> None:
    for query in ("mapped_time_bucket", "sum by (le) (increase(mapped_time_bucket[5m]))"):
        found = by_le(p, query)
        assert list(found) == ["0.1", "0.25", "0.5", "1.0", "+Inf"]
        assert list(found.values()) == pytest.approx([1.7, 3.5, 6, 9, 10], abs=0.6)
    assert by_le(p, 'mapped_time_bucket{le=~"0.3|1"}') == pytest.approx({"0.3": 4, "1.0": 9})
    e = MetadataQueries(Catalog(p.store, ShimSettings()), ShimSettings())
    values = e.label_values(Tenant(1, 1), "le", [[Matcher("__name__", "=", "mapped_time_bucket")]], *ALL)
    assert values == ["+Inf", "0.1", "0.25", "0.5", "1.0"]


@pytest.mark.parametrize("q", [0.0, 0.5, 0.9, 0.99, 1.0])
def test_quantiles_of_a_summary(p: Pipeline, q: float) -> None:
    """Of the observations in the lookback, as quantile_over_time has them."""
    shown = labels_of(p, __name__="shop_req_duration", job="web", quantile=number_text(q))
    over = p.instant(f'quantile_over_time({q}, shop_req_duration{{job="web"}}[5m])', NOW_S)
    found = p.instant(f'shop_req_duration{{quantile="{q:g}"}}', NOW_S)
    assert found == {shown: pytest.approx(next(iter(over.values())))}
    assert next(iter(found.values())) == pytest.approx(np.quantile(REQUESTS, q), rel=0.012)
    grid = p.range(
        f'max by (job) (shop_req_duration{{quantile="{q}",job=~"w.*"}})', NOW_S - 20, NOW_S + 600, 10
    )
    (values,) = grid.values()
    assert values[0] is None
    assert values[-1] is None  # nothing within the lookback
    assert values[5] == pytest.approx(next(iter(found.values())))


def test_quantiles_that_matchers_name(p: Pipeline) -> None:
    def asked(query: str) -> set[tuple[str, str]]:
        return {(get(k, "__name__"), get(k, "quantile")) for k in p.instant(query, NOW_S)}

    x = "shop_req_duration"
    assert asked(x + '{quantile=~"0.5|0.9|2"}') == {(x, "0.5"), (x, "0.9")}
    assert asked(x + '{quantile=~"0.5|0.9",quantile!="0.50"}') == {(x, "0.9")}
    assert asked('{quantile="1",__name__=~"shop_.*|other",job="web"}') == {(x, "1.0"), ("other", "1.0")}
    assert (
        asked(x + '{quantile="2"}') == asked(x + '{quantile="x"}') == asked(x + '{quantile=~".+"}') == set()
    )
    assert asked(f'max_over_time({x}{{quantile="0.5"}}[5m])') == {("", "0.5")}
    assert len(asked(x + '{quantile!="0.5"}')) == 0  # x itself, which is a histogram
    assert p.instant(f'count({x}{{quantile!="0.5"}})', NOW_S) == {(): 1.0}


def test_a_stored_tag_quantile_wins(p: Pipeline) -> None:
    assert p.instant('histogram_count(tagged{quantile="0.99"})', NOW_S) == {
        labels_of(p, quantile="0.99"): 1.0
    }
    found = p.instant('tagged{quantile="0.5"}', NOW_S)
    assert found == {labels_of(p, __name__="tagged", kind="gauge", quantile="0.5"): 4.0}
    assert p.instant('tagged{quantile="0.9"}', NOW_S) == {}
    settings = ShimSettings()
    e = MetadataQueries(Catalog(p.store, settings), settings)
    on = [Matcher("__name__", "=", "shop_req_duration"), Matcher("quantile", "=", "0.990")]
    assert e.label_values(Tenant(1, 1), "quantile", [on], *ALL) == ["0.99"]
    assert {get(one, "quantile") for one in e.series(Tenant(1, 1), [on], *ALL)} == {"0.99"}
    assert "quantile" in e.label_names(Tenant(1, 1), [on], *ALL)


def test_an_infinite_boundary_is_the_count_whatever_is_asked(p: Pipeline) -> None:
    for form in ("{}", "rate({}[1m])", "sum by (job) (rate({}[5m]))", "max_over_time({}[1m])", "absent({})"):
        inf = form.format('shop_req_duration_bucket{le="+Inf"}')
        strip = "sum without (le, __name__) (%s)"
        counted = p.instant(strip % form.format("shop_req_duration_count"), NOW_S)
        assert p.instant(strip % inf, NOW_S) == counted
