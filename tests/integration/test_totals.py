"""Totals over more series than may be selected: answered without one label read, in every store.

tests/property/test_rules.py holds that totals with and without labels are equal; here are sizes and bounds.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shim.catalog import Catalog
from shim.catalog.series_index_cache import SeriesIndexCache
from shim.catalog.tables import Tables
from shim.catalog.unlabelled_series import UnlabelledSeries
from shim.engine.engine import QueryEngine
from shim.model.errors import ExecutionError
from shim.model.grid import Grid
from shim.model.matchers import Matcher
from shim.model.tenancy import Tenant
from shim.model.values import Vector
from shim.read import totals as chunks
from shim.settings import ShimSettings
from tests.integration.test_catalog_sizes import KEPT, SERIES, START_S
from tests.support.pipeline import Pipeline
from tests.support.sizes import TYPES, fill, sized_frames, value
from tests.support.worlds import migrated

BUCKETS = [START_S, START_S + 60, START_S + 120]
NOW_S = START_S + 130
EACH = value(np.arange(SERIES))
SUM = float(EACH.sum())
ONES = [i for i in range(SERIES) if str(i).startswith("1")]


@pytest.fixture(scope="module", params=["embedded", "http"])
def totals(request: pytest.FixtureRequest, chdb_path: Path, clickhouse_port: int) -> Iterator[Pipeline]:
    """Provide a store of metrics of 20,000 series, one a type, and an engine that selects 10,000 at most."""
    dsn = {
        "embedded": f"chdb://{chdb_path}?database=totals",
        "http": f"http://127.0.0.1:{clickhouse_port}/totals",
    }[request.param]
    with migrated(dsn, pool=2, kept=KEPT) as store:
        for type_ in TYPES:
            fill(store, sized_frames(type_, f"big_{type_}", SERIES, BUCKETS))
        pipeline = Pipeline.open(store, NOW_S * 1000, max_series=10_000, retention=KEPT)
        yield pipeline
        pipeline.close()


@pytest.fixture(autouse=True)
def _no_labels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "few_labels" in request.fixturenames:
        return

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("labels are read")

    monkeypatch.setattr(SeriesIndexCache, "get", refused)


def one(pipeline: Pipeline, query: str) -> float:
    (found,) = pipeline.instant(query, NOW_S).values()
    return found


@pytest.mark.parametrize(
    ("query", "want"),
    [
        ("sum(increase(big_counter[5m]))", 3 * SUM),
        ("sum(rate(big_counter[5m]))", 3 * SUM / 300),
        ("sum(big_counter)", 3 * SUM),
        ("count(big_counter)", SERIES),
        ("group(big_counter)", 1),
        ("avg(big_counter)", 3 * SUM / SERIES),
        ("max(increase(big_counter[1m])) - min(big_counter)", 10 - 3),
        ("sum(big_gauge)", SUM),
        ("avg(big_gauge)", SUM / SERIES),
        ("count(max_over_time(big_gauge[5m]))", SERIES),
        ("sum(quantile_over_time(0.5, big_gauge[5m]))", SUM),
        ("histogram_count(sum(increase(big_histogram[5m])))", 3 * SUM),
        ("histogram_sum(sum(increase(big_histogram[1m])))", float((EACH**2).sum())),
        ("sum(increase(big_histogram_count[5m]))", 3 * SUM),
        ("count(big_histogram)", SERIES),
        ("max(max_over_time(big_histogram[5m]))", 10),
        ("count(big_set)", SERIES),
        ("max(big_set)", 10),
        ("sum(big_counter) / count(big_gauge)", 3 * SUM / SERIES),
        ('sum(increase(big_counter{path=~"path-1.*"}[5m]))', 3 * float(EACH[ONES].sum())),
        ('count(big_gauge{path=~"path-1.*",host!=""})', len(ONES)),
        ('sum(big_gauge{path=~"path-1.*"})', float(EACH[ONES].sum())),
        ("quantile(0.5, increase(big_counter[5m]))", 3 * 5.5),
        ("quantile(0.25, big_gauge)", float(np.quantile(EACH, 0.25))),
        ("quantile(1, big_set)", 10),
        ('sum(count_values("v", big_gauge))', SERIES),
        ('count(count_values("v", big_set))', 10),
    ],
)
def test_totals_of_every_type(totals: Pipeline, query: str, want: float) -> None:
    assert one(totals, query) == pytest.approx(want, rel=1e-12)


@pytest.fixture
def few_labels() -> None:
    """Lets labels be read, which are bounded by `max_series`."""


@pytest.mark.usefixtures("few_labels")
@pytest.mark.parametrize(
    ("query", "want"),
    [
        ("topk(3, increase(big_counter[5m]))", [30.0] * 3),
        ("bottomk(2, big_gauge)", [1.0] * 2),
        ('topk(3, big_gauge{path=~"path-1.*"})', [10.0] * 3),
        ("topk(2, rate(big_histogram_count[5m])) * 300", [30.0] * 2),
    ],
)
def test_only_contenders_have_labels(totals: Pipeline, query: str, want: list[float]) -> None:
    """Of equal values those with the first labels are shown, at one time and over a range."""
    found = totals.instant(query, NOW_S)
    assert list(found.values()) == pytest.approx(want)
    assert all(dict(labels)["i"] and dict(labels)["host"] for labels in found)
    numbers = [i for i in range(SERIES) if EACH[i] * 3 in (want[0], want[0] * 3)]
    if "path" in query:
        numbers = [i for i in numbers if str(i).startswith("1")]
    named = sorted((f"grp-{i % 10_000}", f"host-{i % 7}", str(i)) for i in numbers)
    shown = [tuple(dict(labels)[tag] for tag in ("grp", "host", "i")) for labels in found]
    assert shown == named[: len(want)]
    over = totals.range(query, NOW_S - 60, NOW_S, 60)
    assert {labels: row[-1] for labels, row in over.items() if row[-1] is not None} == found


@pytest.mark.usefixtures("few_labels")
def test_contenders_are_bounded(totals: Pipeline) -> None:
    with pytest.raises(ExecutionError, match="matches 20000 series"):  # all are equal
        totals.instant("topk(1, present_over_time(big_gauge[5m]))", NOW_S)


def test_values_that_wait_are_bounded(totals: Pipeline) -> None:
    """All values are asked for before one is read."""
    with pytest.raises(ExecutionError, match=r"60060000 values.*shim.max_samples"):
        totals.range("quantile(0.5, big_gauge)", NOW_S - 30_020, NOW_S, 10)


def test_totals_are_remembered_until_a_series_is_registered(
    totals: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which series a regex selects is looked up once, as selections with labels are."""
    version, statements = 1, 0
    fetch = Tables._fetch

    def counted(self: Tables, *args: Any, **bound: Any) -> Any:
        nonlocal statements
        statements += 1
        return fetch(self, *args, **bound)

    monkeypatch.setattr(Tables, "_fetch", counted)
    catalog = Catalog(totals.store, ShimSettings(max_series=10_000), version=lambda: version)
    matchers = (Matcher("__name__", "=", "big_counter"), Matcher("path", "=~", "path-1.*"))

    def selected(tag: str) -> UnlabelledSeries:
        found = catalog.total(totals.tenant, matchers, START_S * 1000, NOW_S * 1000, tag=tag)
        assert isinstance(found, UnlabelledSeries)
        assert len(found.series_ids()) == len(ONES)
        return found

    selected("first")
    before, statements = statements, 0
    again = selected("second")
    assert before > 0
    assert statements == 0
    assert again.tables._tag == "second"  # by which its statements are ended
    version = 2
    selected("third")
    assert statements > 0


def test_unions_of_sets(totals: Pipeline) -> None:
    """About as many as there are members: HyperLogLog."""
    for query in ("sum(big_set)", "sum(sum_over_time(big_set[5m]))", "sum(uniq_over_time(big_set[5m]))"):
        assert one(totals, query) == pytest.approx(SUM, rel=0.02)


def test_over_ranges_and_an_org(totals: Pipeline) -> None:
    org = replace(totals, tenant=Tenant(1, None))
    for query, want in (
        ("sum(increase(big_counter[1m]))", SUM),
        ("count(big_gauge)", SERIES),
        ("avg(rate(big_counter[1m]))", SUM / SERIES / 60),
        ("sum(max_over_time(big_gauge[1m]))", SUM),
    ):
        found = org.range(query, START_S + 60, START_S + 120, 10)
        assert list(found.values()) == [[pytest.approx(want)] * 7], query


def test_what_needs_labels_is_refused(totals: Pipeline) -> None:
    for query in (
        "big_counter",
        "sum by (host) (big_counter)",
        "topk by (host) (1, big_gauge)",
        "count(big_counter > 1)",
    ):
        with pytest.raises(ExecutionError, match=r"matches 20000 series.*\(sum, count, avg, .*, bottomk\)"):
            totals.instant(query, NOW_S)


def test_a_total_takes_no_memory_of_the_series(totals: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mergeable results come as one row; others are looked at by the chunk."""
    grid = Grid((START_S - 3_600) * 1000, NOW_S * 1000, 60_000)
    monkeypatch.setattr(chunks, "_MAX_CHUNK", 1_000)
    for query, most in (("sum(rate(big_counter[5m]))", 1_000_000), ("count(big_gauge)", 20_000_000)):
        totals.answer(query, grid, instant=False)  # names, imports
        tracemalloc.start()
        answer = totals.answer(query, grid, instant=False)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(answer.value, Vector)
        assert peak < most, (query, peak)  # all at once the second would take 190 MB


def test_a_graph_of_a_total_ends_where_it_is_complete(totals: Pipeline) -> None:
    settings = ShimSettings(max_series=10_000, retention=KEPT, settle_s=5.0)
    engine = QueryEngine(totals.store, Catalog(totals.store, settings), settings, now_s=lambda: NOW_S)
    live = replace(totals, engine=engine)
    try:
        for query in ("sum(increase(big_counter[1m]))", "sum(big_gauge)", "count(big_counter)"):
            [row] = live.range(query, START_S + 100, NOW_S + 60, 10).values()
            assert len(row) == 3, "at 100, 110 and 120 s"
    finally:
        engine.close()
