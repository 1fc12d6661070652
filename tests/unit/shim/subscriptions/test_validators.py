"""Which subscriptions are accepted, and which of their ticks are due."""

from __future__ import annotations

import pytest

from shim.model.errors import BadData, Forbidden
from shim.model.tenancy import Tenant
from shim.snql.lower import Asked
from shim.subscriptions.validators import Wanted, check

COUNT = "MATCH (metrics_counters) SELECT sum(value) AS n BY tags[route] WHERE metric_id = 'hits'"

FOUR = (
    "MATCH (metrics_counters) SELECT sum(value), sumIf(value, tags[a] = 'b'),"
    " sumIf(value, tags[a] = 'c'), sumIf(value, tags[a] = 'd')"
)


def checked(
    query: str = COUNT,
    *,
    entity: str = "metrics_counters",
    window: int = 300,
    resolution: int = 60,
    tenant: Tenant = Tenant(1, 2),  # noqa: B008 - frozen
    projects: tuple[int, ...] | None = None,
) -> Tenant:
    asked = Asked(tenant, 0, "metrics", None, projects)
    return check(Wanted(entity, query, window, resolution, asked), 1 << 16)


def test_the_tenant_is_the_callers_or_narrower() -> None:
    assert checked() == Tenant(1, 2)
    assert checked(tenant=Tenant(1, None), projects=(7,)) == Tenant(1, 7)
    with pytest.raises(Forbidden, match="project_id = 3"):
        checked(projects=(3,))
    with pytest.raises(BadData, match="no condition on project_id"):
        checked(tenant=Tenant(1, None))


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        (f"{COUNT} HAVING n > 1", "HAVING"),
        (f"{COUNT} ORDER BY n", "ORDER BY"),
        (f"{COUNT} AND timestamp >= toDateTime('2024-09-01 00:00:00')", "a condition on time"),
        (f"{COUNT} AND timestamp < toDateTime('2024-10-04 00:00:00')", "a condition on time"),
        ("MATCH (metrics_counters) SELECT metric_id BY metric_id", "0 aggregations: expected 1 to 3"),
        (
            FOUR,
            "4 aggregations: expected 1 to 3",
        ),
        ("SELECT sum(hits)", r"expected MATCH \(metrics_counters\)"),
        ("MATCH (metrics_sets) SELECT uniq(value)", r"expected MATCH \(metrics_counters\)"),
        (f"{COUNT} GRANULARITY 3600", "time_window = 300: expected a multiple of the query's granularity"),
        ("MATCH (metrics_counters) SELECT sum(", "line 1"),
    ],
)
def test_refused_queries(query: str, problem: str) -> None:
    with pytest.raises(BadData, match=problem):
        checked(query)


@pytest.mark.parametrize("day", [20_000, 20_001])
def test_a_time_of_its_own_is_refused_even_where_it_fits_one_window(day: int) -> None:
    end_s = day * 86_400
    with pytest.raises(BadData, match="a condition on time"):
        checked(f"{COUNT} AND timestamp >= toDateTime({end_s - 300}) AND timestamp < toDateTime({end_s})")


@pytest.mark.parametrize(("window", "resolution"), [(59, 60), (86_460, 60), (60, 59), (60, 0), (90, 60)])
def test_refused_windows(window: int, resolution: int) -> None:
    with pytest.raises(BadData, match=r"time_window|resolution"):
        checked(window=window, resolution=resolution)


def test_three_aggregations_and_a_fine_granularity_are_accepted() -> None:
    checked("MATCH (metrics_distributions) SELECT max(value), min(value), quantile(0.9)(value)"
            " GRANULARITY 10", entity="metrics_distributions", window=90, resolution=70)  # fmt: skip
    checked(window=60)
    checked(window=86_400)


def test_an_entity_of_the_path_is_known() -> None:
    with pytest.raises(BadData, match="expected one of metrics_counters"):
        checked(entity="events")
