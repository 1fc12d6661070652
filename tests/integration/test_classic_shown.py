"""Distributions as classic series, for clients that know no native histograms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.migrate import migrate
from indexer.clickhouse.store import Store
from shim.model.grid import Grid
from shim.model.labels import Labels, get
from shim.model.values import Samples, Vector
from tests.support.pipeline import Pipeline

NOW_S = 1_800_000_000
KEPT = Retention(days_10s=4_000, days_60s=4_000, days_1h=4_000, days_1d=4_000)


@pytest.fixture
def p(store: Store) -> Iterator[Pipeline]:
    migrate(store, KEPT)
    pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
    at = [f"|T{NOW_S - s}" for s in (30, 20)]
    lines = [f"lat:{v}|d|#job:web,le:own{t}" for v in (0.1, 0.4, 3, 0) for t in at]
    pipeline.send([*lines, *(f"big:{v}|d|#job:web{at[0]}" for v in (100, 900)), f"hits:5|c{at[0]}"])
    yield pipeline
    pipeline.close()


def shown(p: Pipeline, query: str, **options: Any) -> Vector | Samples:
    value = p.answer(query, Grid.instant(NOW_S * 1000), classic=True, **options).value
    assert isinstance(value, Vector | Samples)
    assert not value.histograms
    assert not value.histogram_labels
    return value


def values(p: Pipeline, query: str) -> dict[Labels, float]:
    found = shown(p, query)
    assert isinstance(found, Vector)
    assert len(set(found.labels)) == len(found.labels)
    return {labels: float(v[0]) for labels, v, there in zip(
        found.labels, found.values, found.present, strict=True) if there[0]}  # fmt: skip


def test_a_distribution_shows_as_the_series_that_its_classic_names_answer(p: Pipeline) -> None:
    for name in ("lat", "big"):
        asked = [p.instant(f"{name}_{view}", NOW_S) for view in ("bucket", "sum", "count")]
        assert values(p, name) == asked[0] | asked[1] | asked[2]
    both = values(p, '{__name__=~"lat|big|hits"}')
    assert both == values(p, "lat") | values(p, "big") | p.instant("hits", NOW_S)
    assert values(p, 'lat or lat_bucket{le="+Inf"}').keys() >= values(p, "lat").keys()


def test_without_a_name_the_buckets_are_shown(p: Pipeline) -> None:
    rates = values(p, "rate(lat[5m])")
    assert rates.keys() == p.instant("rate(lat_bucket[5m])", NOW_S).keys()
    assert list(rates.values()) == pytest.approx(list(p.instant("rate(lat_bucket[5m])", NOW_S).values()))
    summed = values(p, "sum by (job) (increase(lat[5m]))")
    assert {get(k, "le"): v for k, v in summed.items()}["+Inf"] == 8


def test_ranges_and_samples(p: Pipeline) -> None:
    samples = shown(p, "lat[1m]")
    assert isinstance(samples, Samples)
    rows = {k: samples.values[a:b].tolist() for k, a, b in zip(
        samples.labels, samples.offsets, samples.offsets[1:], strict=False)}  # fmt: skip
    (inf,) = (v for k, v in rows.items() if get(k, "le") == "+Inf")
    assert inf == [4, 8]
    grid = Grid((NOW_S - 60) * 1000, NOW_S * 1000, 10_000)
    native = p.answer("lat", grid, instant=False).value
    found = p.answer("lat", grid, instant=False, classic=True).value
    assert isinstance(native, Vector)
    assert isinstance(found, Vector)
    (h,) = native.histograms
    count = next(i for i, k in enumerate(found.labels) if get(k, "__name__") == "lat_count")
    assert found.present[count].tolist() == h.present.tolist()
    assert found.values[count][h.present].tolist() == h.count[h.present].tolist()


def test_what_computes_with_histograms_still_does(p: Pipeline) -> None:
    for query in ("histogram_quantile(0.5, rate(lat[5m]))", "histogram_count(lat)", "hits", "count(lat)"):
        assert values(p, query) == p.instant(query, NOW_S)


def test_the_setting_and_the_request(store: Store) -> None:
    migrate(store, KEPT)
    p = Pipeline.open(store, NOW_S * 1000, retention=KEPT, histograms="classic")
    p.send([f"lat:1|d|T{NOW_S - 20}"])
    for options, native in (({}, False), ({"classic": False}, True), ({"classic": True}, False)):
        value = p.answer("lat", Grid.instant(NOW_S * 1000), **options).value
        assert isinstance(value, Vector)
        assert bool(value.histograms) is native
    p.close()
