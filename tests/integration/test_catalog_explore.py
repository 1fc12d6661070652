"""What there is to ask for, out of real tables, where the HTTP tests do not look: bounds, orgs, days."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from indexer.store import Store
from shim.catalog import Catalog, Explorer
from shim.errors import ExecutionError
from shim.matching import Matcher
from shim.settings import ShimSettings
from shim.tenancy import Tenant
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


def explorer(pipeline: Pipeline, **settings: object) -> Explorer:
    chosen = ShimSettings(**settings)  # type: ignore[arg-type]
    return Explorer(Catalog(pipeline.store, chosen), chosen)


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
