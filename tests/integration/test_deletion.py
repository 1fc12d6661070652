"""Deletions: answers afterwards are those of a tenant that never sent the deleted data, by every rollup."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from indexer.clickhouse.store import Store, StoreError
from indexer.deletion.deletion_request import DeletionError, DeletionRequest
from shim.catalog import Catalog, MetadataQueries
from shim.catalog.deletion_targets import find_series
from shim.model.errors import BadData
from shim.model.tenancy import Tenant
from shim.plan.parse import parse_selector
from shim.settings import CacheSettings, ShimSettings
from tests.support.deletions import delete, deleter_of
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded, over_http

DAY_S: Final = 86_400
NOW_S: Final = 20_400 * DAY_S + 40_000
TODAY_S: Final = NOW_S // DAY_S * DAY_S
#: Ends that divide a bucket of every rollup but the finest.
START_S: Final = NOW_S - 2 * DAY_S - 12_340
END_S: Final = NOW_S - DAY_S - 5_430
TIMES: Final = sorted(
    {
        *range(NOW_S - 3 * DAY_S, NOW_S - 20, 2_770),
        *(at + shift for at in (START_S, END_S) for shift in range(-80, 80, 10)),
    }
)
_TENANTS: Final = itertools.count(1)
#: Queries of each type, and the granularities that they are asked by.
QUERIES: Final = (
    "sum by (n) (increase(hits[1d])) or hits",
    "max_over_time(load[1d]) or count_over_time(load[1d])",
    "load",
    "histogram_quantile(0.9, increase(took[2d])) or min_over_time(took[1d])",
    "sum by () (sum_over_time(users[1d]))",
)
GRANULARITIES: Final = (10, 60, 3_600, DAY_S)


@pytest.fixture(scope="module")
def store(chdb_path: Path) -> Iterator[Store]:
    """Provide a store of these tests; each has tenants of its own."""
    with embedded(chdb_path, "deletions", pool=6) as opened:
        yield opened


@pytest.fixture(scope="module")
def http_store(clickhouse_port: int) -> Iterator[Store]:
    with over_http(clickhouse_port, "deletions", pool=6) as opened:
        yield opened


def lines(times: Sequence[int] = TIMES, series: Sequence[int] = (0, 1, 2)) -> list[str]:
    """Return lines of all four types."""
    found = []
    for at, n in itertools.product(times, series):
        value = at // 10 % 97 + n
        end = f"#n:{n},other:{n % 2}|T{at // 10 * 10}"
        found += [f"hits:{value}|c|{end}", f"load:{value / 4}|g|{end}", f"took:{value}:{value / 3}|d|{end}"]
        found.append(f"users:u{value % 31}|s|{end}")
    return found


def opened(store: Store, tenant: Tenant, *, cells: bool = False) -> Pipeline:
    cache = CacheSettings(max_bytes=64 << 20, fill_after=1) if cells else CacheSettings(max_bytes=0)
    made = Pipeline.open(store, NOW_S * 1000, cache=cache)
    return replace(made, tenant=tenant)


def send(p: Pipeline, sent: list[str], project_id: int = 1) -> None:
    p.send(sent, agent=f"of-{p.tenant.org_id}-{project_id}", org_id=p.tenant.org_id, project_id=project_id)


@pytest.fixture
def pair(store: Store) -> Iterator[tuple[Pipeline, Pipeline]]:
    """Provide two tenants without data."""
    yield from _pair(store)


@pytest.fixture
def http_pair(http_store: Store) -> Iterator[tuple[Pipeline, Pipeline]]:
    yield from _pair(http_store)


def _pair(store: Store) -> Iterator[tuple[Pipeline, Pipeline]]:
    made = [opened(store, Tenant(next(_TENANTS), 1)) for _ in range(2)]
    yield made[0], made[1]
    for p in made:
        p.close()


def answers(
    p: Pipeline, queries: Sequence[str] = QUERIES, granularities: Sequence[int] = GRANULARITIES
) -> dict[tuple[str, int], Any]:
    """Return the answers to queries, by each granularity."""
    return {
        (query, granularity): p.range(
            query,
            TODAY_S - 3 * DAY_S,
            TODAY_S,
            DAY_S if granularity == DAY_S else DAY_S / 4,
            granularity_s=granularity,
        )
        for query in queries
        for granularity in granularities
    }


def some(p: Pipeline) -> dict[tuple[str, int], Any]:
    """Return some answers: one of each type."""
    return answers(p, QUERIES[:2], (10, DAY_S)) | answers(p, QUERIES[3:], (DAY_S,))


def catalog_of(p: Pipeline, start_s: int = 0, end_s: int = NOW_S) -> list[object]:
    """Return the names, labels, values and series of a tenant."""
    settings = ShimSettings()
    metadata = MetadataQueries(Catalog(p.store, settings), settings)  # which remembers nothing
    at = start_s * 1000, end_s * 1000
    found: list[object] = [metadata.label_names(p.tenant, [], *at)]
    found += [metadata.label_values(p.tenant, label, [], *at) for label in ("__name__", "n", "other")]
    for name in ("hits", "load", "took", "users"):
        matchers = [parse_selector(name).matchers]
        found.append(sorted(map(str, metadata.series(p.tenant, matchers, *at, 100))))
    return found


def strings_of(store: Store, p: Pipeline) -> list[str]:
    """Return the strings of a tenant, without the well-known ones."""
    rows = store.rows(
        f"SELECT DISTINCT string FROM strings WHERE org_id = {p.tenant.org_id} AND NOT bitTest(id, 63)"
    )
    return sorted(text for (text,) in rows)


EVERY: Final = ("hits", "load", "took", "users")


def test_a_time_inside_of_days(pair: tuple[Pipeline, Pipeline]) -> None:
    _delete_inside_of_days(*pair)


def test_a_time_inside_of_days_over_http(http_pair: tuple[Pipeline, Pipeline]) -> None:
    _delete_inside_of_days(*http_pair)


def _delete_inside_of_days(p: Pipeline, never: Pipeline) -> None:
    send(p, lines())
    kept = [at for at in TIMES if not START_S <= at < END_S]
    send(never, [*lines(series=(0, 2)), *lines(kept, (1,))])
    assert some(p) != some(never)
    result = delete(p, *(f'{name}{{n="1"}}' for name in EVERY), start_s=START_S, end_s=END_S)
    assert (result.series, result.start_s, result.end_s) == (4, START_S, END_S)
    assert result.rows > 4 * (len(TIMES) - len(kept))
    fresh = opened(p.store, p.tenant)
    assert answers(fresh) == answers(never)
    assert catalog_of(fresh) == catalog_of(never)
    assert catalog_of(fresh, START_S, END_S) == catalog_of(never, START_S, END_S)
    fresh.close()


def test_whole_series_with_their_strings(store: Store, pair: tuple[Pipeline, Pipeline]) -> None:
    p, never = pair
    send(p, lines())
    send(never, lines(series=(0, 2)))
    delete(p, '{__name__=~".+",n="1"}')
    fresh = opened(store, p.tenant)
    assert some(fresh) == some(never)
    assert catalog_of(fresh) == catalog_of(never)
    assert strings_of(store, p) == strings_of(store, never)
    fresh.close()


def test_everything_and_new_data_afterwards(store: Store, pair: tuple[Pipeline, Pipeline]) -> None:
    p, never = pair
    send(p, lines())
    counted = delete(p, *EVERY, dry_run=True)
    assert counted.series == 12
    assert some(p) == some(p)
    assert delete(p, *EVERY) == counted
    assert delete(p, *EVERY).series == 0
    fresh = opened(store, p.tenant)
    assert catalog_of(fresh) == catalog_of(never)
    assert strings_of(store, p) == []
    late = [*lines(TIMES[-3:]), *lines(TIMES[:2], (1,))]
    send(p, late)
    send(never, late)
    assert some(opened(store, p.tenant)) == some(never)
    assert catalog_of(opened(store, p.tenant)) == catalog_of(never)
    fresh.close()


def test_cells_in_memory_are_forgotten(chdb_path: Path) -> None:
    with embedded(chdb_path, "deletions_in_memory", pool=6) as store:
        p, never = (opened(store, Tenant(org, 1), cells=True) for org in (1, 2))
        send(p, lines())
        assert p.blocks is not None
        some(p)
        p.blocks.filler.wait()
        some(p)
        assert len(p.blocks.cache)
        send(never, [*lines(series=(0, 2)), *lines([t for t in TIMES if not START_S <= t < END_S], (1,))])
        delete(p, *(f'{name}{{n="1"}}' for name in EVERY), start_s=START_S, end_s=END_S)
        assert some(p) == some(never)
        p.close()
        never.close()


def test_other_tenants_keep_theirs(store: Store) -> None:
    org, other = next(_TENANTS), next(_TENANTS)
    first, second, elsewhere = (opened(store, t) for t in (Tenant(org, 1), Tenant(org, 2), Tenant(other, 1)))
    for p, project_id in ((first, 1), (second, 2), (elsewhere, 1)):
        send(p, lines(TIMES[::9]), project_id)
    before = some(second), some(elsewhere), catalog_of(second), strings_of(store, elsewhere)
    delete(first, *EVERY)
    again = [opened(store, p.tenant) for p in (first, second, elsewhere)]
    assert not any(some(again[0]).values())
    assert (some(again[1]), some(again[2]), catalog_of(again[1]), strings_of(store, elsewhere)) == before
    whole = replace(opened(store, Tenant(org, None)))
    send(first, lines(TIMES[::9]), 1)
    delete(whole, *EVERY)
    assert not any(some(opened(store, Tenant(org, None))).values())
    assert some(opened(store, elsewhere.tenant)) == before[1]


def test_whole_days_where_others_write(store: Store, pair: tuple[Pipeline, Pipeline]) -> None:
    p, never = pair
    send(p, lines())
    start_s = START_S - DAY_S + 10_000
    first, end = -(-start_s // DAY_S) * DAY_S, END_S // DAY_S * DAY_S
    send(never, lines([at for at in TIMES if not first <= at < end]))
    with pytest.raises(DeletionError, match="no whole bucket"):
        delete(p, "hits", start_s=END_S - 3_600, end_s=END_S, alone=False)
    result = delete(p, *EVERY, start_s=start_s, end_s=END_S, alone=False)
    assert (result.start_s, result.end_s) == (first, end)
    fresh = opened(store, p.tenant)
    assert some(fresh) == some(never)
    assert catalog_of(fresh) == catalog_of(never)


def test_many_series_by_a_table_of_ids(
    http_pair: tuple[Pipeline, Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.deletion.deleter.MAX_LISTED", 400)
    p, never = http_pair
    many = [f"many:{i}|c|#id:{i},even:{i % 2}|T{TIMES[i % 3]}" for i in range(1_000)]
    send(p, many)
    send(never, [line for line in many if "even:1" in line])
    assert delete(p, 'many{even="0"}').series == 500
    query = ("sum(increase(many[3d]))", "count(increase(many[3d]))")
    assert answers(opened(p.store, p.tenant), query, (10,)) == answers(never, query, (10,))
    names = "SELECT name FROM system.tables WHERE database = currentDatabase()"
    assert not [name for (name,) in p.store.rows(names) if name.startswith("deletion_")]


def test_a_series_that_comes_after_the_selection_is_kept(pair: tuple[Pipeline, Pipeline]) -> None:
    """All series of the metric matched when they were found; a new one does not match."""
    p, _ = pair
    send(p, lines(TIMES[-3:], [0]))
    found = find_series(
        p.engine._catalog, p.tenant, [parse_selector('hits{n!="1"}').matchers], 0, NOW_S * 1000
    )
    send(p, lines(TIMES[-2:-1], [1]))
    deleter_of(p).delete(DeletionRequest(p.tenant.org_id, found))
    assert rows_by_series(p) == {"1": 1}


def rows_by_series(p: Pipeline) -> dict[str, float]:
    """Return the number of buckets with hits of each series."""
    found = p.instant("count_over_time(hits[1d])", NOW_S)
    return {dict(labels)["n"]: value for labels, value in found.items()}


def test_a_view_of_a_distribution_cannot_be_deleted(pair: tuple[Pipeline, Pipeline]) -> None:
    p, _ = pair
    send(p, lines(TIMES[:1]))
    with pytest.raises(BadData, match="took is stored as one distribution"):
        delete(p, "took_count")


class _Interrupted(Store):
    """A store that fails at the `last` statement that changes something."""

    def __init__(self, store: Store, last: int) -> None:
        self.__dict__.update(store.__dict__)
        self._left = last

    def command(self, *arguments: Any, **named: Any) -> None:
        self._left -= 1
        if not self._left:
            raise StoreError("interrupted", retryable=True)
        super().command(*arguments, **named)


def test_an_interrupted_deletion_is_completed_by_the_next(
    store: Store, pair: tuple[Pipeline, Pipeline]
) -> None:
    p, never = pair
    send(p, lines())
    send(never, [*lines(series=(0, 2)), *lines([t for t in TIMES if not START_S <= t < END_S], (1,))])
    selectors = [f'{name}{{n="1"}}' for name in ("hits", "users")]
    for last in (3, 10, 15, 17):  # in the rollups, among the derived rows, in the catalog
        with pytest.raises(StoreError, match="interrupted"):
            delete(replace(p, store=_Interrupted(store, last)), *selectors, start_s=START_S, end_s=END_S)
    delete(p, *selectors, start_s=START_S, end_s=END_S)
    queries = [QUERIES[0], QUERIES[-1]]
    assert answers(opened(store, p.tenant), queries) == answers(never, queries)
    delete(p, *(f'{name}{{n="1"}}' for name in EVERY), start_s=START_S, end_s=END_S)
    assert catalog_of(p) == catalog_of(never)


def test_a_deletion_that_died_without_its_series_is_completed_by_the_next(
    store: Store, pair: tuple[Pipeline, Pipeline]
) -> None:
    """Its selector finds no series then, but tags and strings of them are left."""
    p, never = pair
    send(p, ["hits:1|c|#n:kept"])
    send(never, ["hits:1|c|#n:kept"])
    left = []
    for last in (6, 8, 10):  # before rows of `series` go, among tags, among strings
        gone, selector = f"gone{last}", f'hits{{n="gone{last}"}}'
        send(p, [f"hits:1|c|#n:{gone},only{last}:x|T{TIMES[-1]}"])
        with suppress(StoreError):
            delete(replace(p, store=_Interrupted(store, last)), selector)
        fresh = opened(store, p.tenant)
        found = find_series(
            fresh.engine._catalog, p.tenant, [parse_selector(selector).matchers], 0, NOW_S * 1000
        )
        left.append(not found and gone in strings_of(store, p))
        assert not delete(fresh, selector).series or found
        assert strings_of(store, p) == strings_of(store, never), last
        assert catalog_of(p) == catalog_of(never), last
        fresh.close()
    assert True in left, "no run left strings without series"
    notes = "SELECT count() FROM system.tables WHERE startsWith(name, 'unfinished_deletion_')"
    assert store.rows(notes) == [(0,)]


def test_series_come_back_with_their_names_after_a_deletion_that_failed(
    store: Store, pair: tuple[Pipeline, Pipeline]
) -> None:
    """It failed when the rows of the catalog were gone: no cache may claim them."""
    p, _ = pair
    send(p, lines())
    failed_after = set()
    for last in range(5, 8):  # from the first statements on the catalog on
        with pytest.raises(StoreError, match="interrupted"):
            delete(replace(p, store=_Interrupted(store, last)), "hits")
        failed_after.add(not any(answers(opened(store, p.tenant), ("increase(hits[1d])",), (10,)).values()))
        send(p, [line for line in lines(TIMES[:9]) if line.startswith("hits")])
        fresh = opened(store, p.tenant)
        assert "hits" in str(catalog_of(fresh)[1]), last
        assert any(answers(fresh, ("increase(hits[1d])",), (10,)).values()), last
        fresh.close()
    assert True in failed_after, "no run failed after the rows were gone"
