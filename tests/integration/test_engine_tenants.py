"""Tenants never see each other: the same names and tags in two projects and two orgs, read in every way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from indexer.clickhouse.schema import Retention
from shim.model.grid import Grid
from shim.model.labels import get
from shim.model.tenancy import Tenant
from shim.model.values import Samples
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

NOW_S = 20_400 * 86_400
DATABASE = "engine_tenants"
KEPT = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)

#: Who, and how many each sends a minute: no sum of others' numbers is one's own.
OWNERS = {Tenant(1, 1): 1, Tenant(1, 2): 10, Tenant(2, 1): 100, Tenant(2, 2): 1_000}


@pytest.fixture(scope="module")
def p(chdb_path: Path) -> Iterator[Pipeline]:
    with embedded(chdb_path, DATABASE) as store:
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        for tenant, n in OWNERS.items():
            assert tenant.project_id is not None
            lines = [f"secret_{tenant.org_id}_{tenant.project_id}:1|c|T{NOW_S - 5}"]
            for minute in range(10):
                tags = f"|#route:a|T{NOW_S - 60 * minute - 5}"
                lines += [f"hits:{n}|c{tags}", f"temp:{n}|g{tags}", f"lat:{n}|d{tags}"]
                lines += [f"users:m{n + k}|s{tags}" for k in range(OWNERS_MEMBERS[n])]
            pipeline.send(lines, org_id=tenant.org_id, project_id=tenant.project_id)
        yield pipeline
        pipeline.close()


#: The same in members of its set.
OWNERS_MEMBERS = {1: 1, 10: 2, 100: 3, 1_000: 4}


class Want(NamedTuple):
    """A tenant's data: times the number it sends, times its members, and a number."""

    sent: int
    members: int
    more: int

    def of(self, n: int) -> float:
        return float(self.sent * n + self.members * OWNERS_MEMBERS[n] + self.more)


REPLACED = 'label_replace(hits, "project_id", "9", "", "")'
QUERIES: dict[str, Want] = {
    "hits": Want(10, 0, 0),
    "sum(hits)": Want(10, 0, 0),
    "increase(hits[5m])": Want(5, 0, 0),
    "sum by (route) (increase(hits[5m]))": Want(5, 0, 0),
    "max_over_time(hits[5m])": Want(10, 0, 0),
    "temp": Want(1, 0, 0),
    "max_over_time(temp[5m])": Want(1, 0, 0),
    "sum(temp)": Want(1, 0, 0),
    "histogram_sum(lat)": Want(10, 0, 0),
    "histogram_sum(sum(increase(lat[5m])))": Want(5, 0, 0),
    "max_over_time(lat[5m])": Want(1, 0, 0),
    "quantile_over_time(1, lat[5m])": Want(1, 0, 0),
    "lat_sum": Want(10, 0, 0),
    'increase(lat_bucket{le="+Inf"}[5m])': Want(0, 0, 5),
    "users": Want(0, 1, 0),
    "sum(users)": Want(0, 1, 0),
    "sum(sum_over_time(users[5m]))": Want(0, 1, 0),
    "max_over_time(hits[5m:1m])": Want(10, 0, 0),
    'hits{route=~".+"}': Want(10, 0, 0),
    '{__name__="hits"}': Want(10, 0, 0),
    REPLACED: Want(10, 0, 0),
}


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("tenant", OWNERS)
def test_a_project_sees_its_own(p: Pipeline, tenant: Tenant, query: str) -> None:
    mine, n = replace(p, tenant=tenant), OWNERS[tenant]
    want = QUERIES[query].of(n)
    assert list(mine.instant(query, NOW_S).values()) == [want]
    ranged = mine.range(query, NOW_S - 240, NOW_S, 60)
    assert [row[-1] for row in ranged.values()] == [want]


@pytest.mark.parametrize("tenant", OWNERS)
def test_nothing_in_a_query_widens_it(p: Pipeline, tenant: Tenant) -> None:
    mine = replace(p, tenant=tenant)
    for selector in (
        '{__name__=~".+"}',
        '{__name__!=""}',
        '{__name__=~"secret.*"}',
        '{project_id=~".*",route="a"}',
        '{__name__=~".+",project_id=""}',
        '{__name__=~".+",org_id=""}',
        'hits{project_id!="7"}',
    ):
        answer = mine.answer(f"count by (__name__) ({selector})", Grid.instant(NOW_S * 1000))
        names = {get(labels, "__name__") for labels in answer.value.labels}  # type: ignore[union-attr]
        own = f"secret_{tenant.org_id}_{tenant.project_id}"
        assert names <= {"hits", "temp", "lat", "users", own}, selector
    for other in OWNERS.keys() - {tenant}:
        assert mine.instant(f"secret_{other.org_id}_{other.project_id}", NOW_S) == {}
        assert mine.instant(f'hits{{project_id="{other.project_id}"}}', NOW_S) == {}


@pytest.mark.parametrize("tenant", OWNERS)
def test_samples_are_ones_own(p: Pipeline, tenant: Tenant) -> None:
    for query, want in (("hits[1m]", 10), ("temp[1m]", 1), ("lat_sum[1m]", 10)):
        value = replace(p, tenant=tenant).answer(query, Grid.instant(NOW_S * 1000)).value
        assert isinstance(value, Samples)
        assert value.values.tolist() == [want * OWNERS[tenant]]


@pytest.mark.parametrize("org_id", [1, 2])
def test_an_org_sees_its_projects_by_a_label(p: Pipeline, org_id: int) -> None:
    whole = replace(p, tenant=Tenant(org_id, None))
    owners = {str(t.project_id): n for t, n in OWNERS.items() if t.org_id == org_id}
    for query, want in QUERIES.items():
        if query.startswith(("sum", "histogram_sum(sum", REPLACED)):
            continue
        found = {get(k, "project_id"): v for k, v in whole.instant(query, NOW_S).items()}
        assert found == {k: want.of(n) for k, n in owners.items()}, query
    assert whole.instant("sum(hits)", NOW_S) == {(): 10.0 * sum(owners.values())}
    assert whole.instant("sum(increase(hits[5m]))", NOW_S) == {(): 5.0 * sum(owners.values())}
    both = whole.instant("sum by (project_id) (increase(hits[5m]))", NOW_S)
    assert both == {(("project_id", k),): 5.0 * n for k, n in owners.items()}
    for project, n in owners.items():
        picked = whole.instant(f'sum(hits{{project_id="{project}"}})', NOW_S)
        assert picked == {(): 10.0 * n}


def _keys(sql: str) -> set[tuple[int, int]]:
    """Return the orgs and projects of the keys that a statement reads, if that is how it does."""
    found = re.search(r"\(org_id, project_id, metric_id, .*?\) IN \((\(.*?\))\)", sql)
    return {(int(o), int(p)) for o, p in re.findall(r"\((\d+),(\d+),", found[1])} if found else set()


def test_every_statement_names_its_tenant(p: Pipeline) -> None:
    for tenant in (*OWNERS, Tenant(1, None)):
        for query in QUERIES.keys() - {REPLACED}:
            answer = replace(p, tenant=tenant).answer(query, Grid.instant(NOW_S * 1000), explain=True)
            assert answer.explain is not None
            for statement in answer.explain["statements"]:
                sql = statement["sql"]
                reads = sql.count(f"FROM `{DATABASE}`.")
                if keys := _keys(sql):  # whole keys of rows, which begin with the tenant
                    assert reads == 1
                    assert keys == {(tenant.org_id, tenant.project_id)}, sql
                    continue
                assert sql.count(f"(org_id = {tenant.org_id})") == reads > 0, sql
                if tenant.project_id is not None:
                    assert sql.count(f"(project_id = {tenant.project_id})") == reads, sql


def test_an_unknown_tenant_has_nothing(p: Pipeline) -> None:
    for tenant in (Tenant(1, 3), Tenant(3, 1), Tenant(3, None)):
        nobody = replace(p, tenant=tenant)
        assert nobody.instant("hits", NOW_S) == {}
        assert nobody.instant("sum(increase(hits[5m]))", NOW_S) == {}
        assert nobody.instant('count({__name__=~".+"})', NOW_S) == {}
