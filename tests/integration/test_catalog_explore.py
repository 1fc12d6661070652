"""Metadata out of real tables, where the HTTP tests do not look: bounds, orgs, days."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.store import Store, open_store
from shim.catalog import Catalog, MetadataQueries
from shim.model.errors import ExecutionError
from shim.model.matchers import Matcher, MatchOp
from shim.model.tenancy import Tenant
from shim.settings import ShimSettings
from tests.support.pipeline import Pipeline

T = Tenant(1, 1)
NOW_S = int(time.time()) // 86_400 * 86_400 - 43_200
ALL = (0, 2**42)
EVERYTHING = [[Matcher("__name__", "!=", "")]]
REQ = [[Matcher("__name__", "=", "req")]]


@pytest.fixture
def pipeline(store: Store) -> Iterator[Pipeline]:
    pipeline = Pipeline.open(store, NOW_S * 1000)
    pipeline.send(
        [f"req:1|c|#host:h{i:02},empty:" for i in range(30)] + [f"old.one:1|g|#x:y|T{NOW_S - 5 * 86_400}"]
    )
    pipeline.send(["req:1|c|#host:other,zone:z"], project_id=2)
    yield pipeline
    pipeline.close()


def explorer(pipeline: Pipeline, **settings: object) -> MetadataQueries:
    chosen = ShimSettings(**settings)  # type: ignore[arg-type]
    return MetadataQueries(Catalog(pipeline.store, chosen), chosen)


def test_limits(pipeline: Pipeline) -> None:
    small = explorer(pipeline, max_series=10)
    with pytest.raises(ExecutionError, match="max_series"):
        small.series(T, REQ, *ALL)
    found = small.series(T, REQ, *ALL, limit=7)
    assert len(found) == 8  # one more, which says that there are more
    assert found == sorted(found)
    assert len(small.series(T, [*REQ, *EVERYTHING], *ALL, limit=100)) == 31
    # Names and values stay in columns: no bound on series hits them, nor Grafana's match-all.
    assert len(small.label_values(T, "host", REQ, *ALL)) == 30
    assert small.label_names(T, REQ, *ALL) == ["__name__", "host"]
    for sets in ([], EVERYTHING, [[Matcher("__name__", "=~", ".+")]]):
        assert len(small.label_values(T, "host", sets, *ALL)) == 30
        assert small.label_values(T, "__name__", sets, *ALL) == ["old_one", "req"]


def test_days(pipeline: Pipeline) -> None:
    today = (NOW_S * 1000, NOW_S * 1000)
    e = explorer(pipeline)
    assert e.label_values(T, "__name__", [], *today) == ["req"]
    assert e.label_values(T, "x", [], *today) == []
    assert e.label_values(T, "x", [], *ALL) == ["y"]
    assert "x" not in e.label_names(T, [], *today)
    assert e.label_names(T, [], 0, 1000) == []
    assert set(e.metadata(T, None, *today)) == {"req"}


def test_a_whole_org(pipeline: Pipeline) -> None:
    e, org = explorer(pipeline), Tenant(1, None)
    assert e.label_values(org, "project_id", [], *ALL) == ["1", "2"]
    assert e.label_values(org, "project_id", [[Matcher("zone", "=", "z")]], *ALL) == ["2"]
    assert "project_id" in e.label_names(org, [], *ALL)
    assert "project_id" in e.label_names(org, REQ, *ALL)
    assert e.series(org, [[Matcher("zone", "=", "z")]], *ALL) == [
        (("__name__", "req"), ("host", "other"), ("project_id", "2"), ("zone", "z"))
    ]
    assert e.label_values(T, "project_id", [], *ALL) == []
    assert e.cardinality(org, 10, *ALL).series == 32
    assert e.cardinality(Tenant(2, None), 10, *ALL).series == 0


def test_utf8_names_where_they_are_wanted(pipeline: Pipeline) -> None:
    e = explorer(pipeline, names="utf8")
    assert e.label_values(T, "__name__", [], *ALL) == ["old.one", "req"]
    assert list(e.metadata(T, "old_one", *ALL)) == ["old.one"]


def test_cardinality_is_ordered_and_cut(pipeline: Pipeline) -> None:
    size = explorer(pipeline).cardinality(T, 1, *ALL)
    assert size.series == 31
    assert size.series_by_metric == [("req", 30)]
    assert size.values_by_label == [("host", 30)]
    assert size.bytes_by_label == [("host", 90)]


NAMED = [
    "shop.lat:5|d|#zone:a",
    "shop.hits:1|c|#zone:a,pod.name:p0",
    "shop-hits:1|c|#zone:b,pod-name:p0",
    "shop_hits:1|c|#zone:b,pod_name:p1",
    "other:1|c|#pod.name:p0",
    "lat_count:1|g|#zone:b",
]


@pytest.fixture(params=["chdb_dsn", "http_dsn"])
def named(request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    store = open_store(request.getfixturevalue(request.param), pool=2)
    migrate(store, Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650))
    pipeline = Pipeline.open(store, NOW_S * 1000)
    pipeline.send(NAMED)
    yield pipeline
    pipeline.close()
    store.close()


def on_name(op: MatchOp, value: str, *others: Matcher) -> list[list[Matcher]]:
    return [[Matcher("__name__", op, value), *others]]


def test_names_by_a_pattern_are_those_of_the_whole_list(named: Pipeline) -> None:
    """`metrics(shop_.*)` of Grafana: classic names are among them."""
    every = [
        "lat_count",
        "other",
        "shop_hits",
        "shop_lat",
        *(f"shop_lat_{v}" for v in ("bucket", "count", "sum")),
    ]
    zone_a = Matcher("zone", "=", "a")
    for few in (False, True):  # too many series to be read, too
        e = explorer(named, **({"max_series": 1} if few else {}))

        def names(sets: list[list[Matcher]], e: MetadataQueries = e) -> list[str]:
            return e.label_values(T, "__name__", sets, *ALL)

        assert names([]) == every
        assert names(on_name("=~", ".*")) == names(on_name("=~", ".*.+")) == every
        assert names(on_name("=~", "shop_.*")) == [name for name in every if name.startswith("shop")]
        assert names(on_name("=~", "shop\\..*")) == names(on_name("=~", "shop_.*"))  # as they were sent
        assert names(on_name("=~", ".*_count")) == ["lat_count", "shop_lat_count"]
        assert names(on_name("=", "shop_lat")) == ["shop_lat"]
        assert names(on_name("=", "shop_lat_sum")) == ["shop_lat_sum"]
        assert names(on_name("!~", "shop_.*")) == ["lat_count", "other"]
        assert names(on_name("=~", "shop_.*", zone_a)) == [n for n in every if n.startswith("shop")]
        assert names(on_name("=~", "shop_l.t(|_sum)", zone_a)) == ["shop_lat", "shop_lat_sum"]
        assert names(on_name("=~", ".*", Matcher("zone", "=", "b"))) == ["lat_count", "shop_hits"]
        assert names(on_name("=~", ".*", Matcher("__type__", "=", "histogram"))) == ["shop_lat"]


def test_cardinality_has_names_as_they_are_shown(named: Pipeline) -> None:
    size = explorer(named).cardinality(T, 2, *ALL)
    assert size.series == 6
    assert size.series_by_metric[0] == ("shop_hits", 3)
    assert dict(size.values_by_label) == {"pod_name": 2, "zone": 2}
    assert dict(size.bytes_by_label) == {"pod_name": 4, "zone": 2}
    assert size.series_by_pair[0] in (("pod_name=p0", 3), ("zone=b", 3))
    assert {n for _, n in size.series_by_pair} == {3}
    utf8 = explorer(named, names="utf8").cardinality(T, 10, *ALL)
    assert dict(utf8.series_by_metric) == dict.fromkeys(
        ("shop.lat", "shop.hits", "shop-hits", "shop_hits", "other", "lat_count"), 1
    )
    assert dict(utf8.values_by_label)["pod.name"] == 1
