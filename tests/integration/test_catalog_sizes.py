"""Selectors of many series: counted before they are read, decided in SQL, and refused with advice.

20,000 series in each kind of store, embedded and over HTTP; limits are lowered rather than series added.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.clickhouse.schema import Retention
from indexer.clickhouse.store import Store
from shim.catalog import Catalog, MetadataQueries
from shim.catalog.types import Days
from shim.model.errors import ExecutionError
from shim.model.labels import make
from shim.model.matchers import Matcher, MatchOp
from shim.model.tenancy import Tenant
from shim.settings import CatalogSettings, ShimSettings
from tests.integration.test_catalog_select import labels_of, m, named
from tests.support.frames import FrameRows, make_frame
from tests.support.sizes import fill, sized_frames
from tests.support.worlds import migrated

T = Tenant(1, 1)
SERIES = 20_000
START_S = 1_790_000_000
RANGE = (START_S * 1000, START_S * 1000 + 60_000)
KEPT = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)


@pytest.fixture(scope="module", params=["embedded", "http"])
def big(request: pytest.FixtureRequest, chdb_path: Path, clickhouse_port: int) -> Iterator[Store]:
    """Provide a store with a counter `big` of 20,000 series, and a `little` of 10."""
    dsn = {
        "embedded": f"chdb://{chdb_path}?database=sizes",
        "http": f"http://127.0.0.1:{clickhouse_port}/sizes",
    }[request.param]
    with migrated(dsn, pool=2) as store:
        fill(store, sized_frames("counter", "big", SERIES, [START_S]))
        fill(store, sized_frames("counter", "little", 10, [START_S]))
        yield store


class Counted:
    """Counts the rows that a store gives, while it is entered."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        fetch = store.fetch

        def counting(*given: Any, **named: Any) -> Any:
            found = fetch(*given, **named)
            self.rows += len(found)
            return found

        monkeypatch.setattr(store, "fetch", counting)


def catalog(store: Store, **settings: Any) -> Catalog:
    return Catalog(store, ShimSettings(**settings))


def explorer(store: Store, **settings: Any) -> MetadataQueries:
    return MetadataQueries(catalog(store, **settings), ShimSettings(**settings))


def test_too_many_are_counted_before_they_are_read(big: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = catalog(big, max_series=1_000)
    refusing.names(T, Days.of(*RANGE))
    counted = Counted(big, monkeypatch)
    with pytest.raises(ExecutionError) as refused:
        refusing.select(T, [named("big")], *RANGE)
    text = str(refused.value)
    assert 'selector {__name__="big"} matches 20000 series, more than the limit of 1000' in text
    assert 'its label "i" has about ' in text
    assert counted.rows < 1_100  # one more than the limit, a count, and a key


def test_a_refusal_takes_no_memory_of_the_series(big: Store) -> None:
    refusing = catalog(big, max_series=1_000)
    refusing.names(T, Days.of(*RANGE))
    tracemalloc.start()
    with pytest.raises(ExecutionError):
        refusing.select(T, [named("big")], *RANGE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000  # their labels alone would be 20,000 tuples of five pairs: 8 MB


def test_the_largest_metric_of_many_is_named(big: Store) -> None:
    with pytest.raises(ExecutionError, match=r'matches 20010 series.*most are of "big" \(20000\)'):
        catalog(big, max_series=1_000).select(T, [m("__name__", "=~", ".+")], *RANGE)


def test_more_than_may_be_looked_at(big: Store) -> None:
    most = CatalogSettings(max_scanned_series=5_000)
    with pytest.raises(ExecutionError, match="more than 5000 series"):
        catalog(big, catalog=most).select(T, [named("big"), m("path", "!=", "path-1")], *RANGE)


@pytest.mark.parametrize(
    ("label", "op", "value"),
    [
        ("path", "=", "path-7"),
        ("path", "=~", "path-7|path-8|never"),
        ("path", "=~", "path-1[0-9]{2}"),
        ("grp", "=~", "grp-99.."),
        ("host", "!~", "host-[1-6]"),
        ("path", "!~", "path-[1-9].*"),
        ("i", "=~", "1.7"),
        ("absent", "=", "x"),
        ("__type__", "=", "gauge"),
        ("__use_case_id__", "=", ""),
        ("__use_case_id__", "=", "custom"),
    ],
)
def test_what_is_decided_in_sql_is_what_labels_decide(
    big: Store, label: str, op: MatchOp, value: str
) -> None:
    asked = [named("big"), m(label, op, value)]
    by_labels = labels_of(catalog(big).select(T, asked, *RANGE))
    by_sql = labels_of(catalog(big, max_series=max(1, len(by_labels))).select(T, asked, *RANGE))
    assert by_sql == by_labels
    if len(by_labels) > 1:
        with pytest.raises(ExecutionError, match=f"matches {len(by_labels)} series"):
            catalog(big, max_series=len(by_labels) - 1).select(T, asked, *RANGE)


def test_conditions_that_all_series_meet(big: Store) -> None:
    for asked in (m("absent", "=", ""), m("host", "!=", ""), m("i", "=~", ".+"), m("__type__", "!=", "set")):
        with pytest.raises(ExecutionError, match="matches 20000 series"):
            catalog(big, max_series=19_999).select(T, [named("big"), asked], *RANGE)


def test_a_regex_looks_at_each_value_once(big: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20,000 values, and again not at all where the roster remembers."""
    seen: list[str] = []
    matches = Matcher.matches

    def watched(self: Matcher, value: str) -> bool:
        if self.name == "i":
            seen.append(value)
        return matches(self, value)

    one = catalog(big)
    monkeypatch.setattr(Matcher, "matches", watched)
    asked = [named("big"), m("i", "=~", "1.*7")]
    first = one.select(T, asked, *RANGE)
    assert len(seen) <= SERIES + 2
    seen.clear()
    assert labels_of(one.select(T, asked, *RANGE)) == labels_of(first)
    assert not seen


def test_exploring_too_many(big: Store) -> None:
    """Names and values come without one label read; `/series` needs a limit."""
    few, all_of_them = explorer(big, max_series=100), explorer(big)
    sets = [[named("big")]]
    assert few.label_names(T, sets, *RANGE) == all_of_them.label_names(T, sets, *RANGE)
    for label in ("__name__", "host", "grp", "absent", "i"):
        found = few.label_values(T, label, sets, *RANGE)
        assert found == all_of_them.label_values(T, label, sets, *RANGE)
    narrow = [[named("big"), m("path", "=~", "path-1.*"), m("host", "!=", "host-1")]]
    assert few.label_values(T, "grp", narrow, *RANGE) == all_of_them.label_values(T, "grp", narrow, *RANGE)
    with pytest.raises(ExecutionError, match="max_series"):
        few.series(T, sets, *RANGE)
    some = few.series(T, sets, *RANGE, limit=5)
    assert len(some) == 6
    assert set(some) <= set(all_of_them.series(T, sets, *RANGE, limit=SERIES))


def test_exploring_too_many_over_an_org(big: Store) -> None:
    org = Tenant(1, None)
    few = explorer(big, max_series=100)
    assert "project_id" in few.label_names(org, [[named("big")]], *RANGE)
    assert few.label_values(org, "project_id", [[named("big")]], *RANGE) == ["1"]
    asked = [[named("big"), m("project_id", "=", "1"), m("i", "=", "17")]]
    assert few.label_values(org, "i", asked, *RANGE) == ["17"]
    assert few.label_values(org, "i", [[named("big"), m("project_id", "=", "2")]], *RANGE) == []


def test_views_of_too_many_distributions(big: Store) -> None:
    fill(big, sized_frames("histogram", "lat", 50, [START_S]))
    both = m("__name__", "=~", "lat_count|lat_sum")
    assert len(labels_of(catalog(big, max_series=100).select(T, [both], *RANGE))) == 100
    with pytest.raises(ExecutionError, match="matches 100 series"):
        catalog(big, max_series=99).select(T, [both], *RANGE)
    few = explorer(big, max_series=10)
    ladder = few.label_values(T, "le", [[named("lat_bucket")]], *RANGE)
    assert ladder == few.label_values(T, "le", [], *RANGE)
    assert {"+Inf", "1.0"} <= set(ladder)
    assert few.label_values(T, "le", [[named("lat_bucket"), m("le", "=", "0.30")]], *RANGE) == ["0.3"]
    assert few.label_names(T, [[named("lat_bucket")]], *RANGE) == sorted(
        ["__name__", "grp", "host", "i", "le", "path"]
    )


def test_ids_of_many_metrics_travel_beside_the_statement(big: Store) -> None:
    """3,000 names take 60 kB: with two such lists a form field of a server would be full."""
    names = [f"many_{i}" for i in range(3_000)]
    fill(
        big,
        [make_frame(FrameRows(counters=[(n, {"i": "0"}, START_S + 86_400, 1.0) for n in names]))],
    )
    later = (RANGE[0] + 86_400_000, RANGE[1] + 86_400_000)
    found = labels_of(catalog(big).select(T, [m("__name__", "=~", ".+"), m("i", "=~", ".*")], *later))
    assert found == sorted(make({"__name__": name, "i": "0"}) for name in names)
