"""Expression -> plan -> SQL, as text: one file an expression under plans/.

    pytest tests/golden --update-golden     writes them anew; the diff is the review

A file holds the plan as built, the plan after the rules, and every statement with the number of rows that
left ClickHouse, formatted by ClickHouse. Ids are numbered in the order they come up; statements run side by
side, so they stand sorted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from indexer.clickhouse.schema import Retention
from indexer.clickhouse.store import Store
from shim.model.grid import Grid
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

PLANS: Final = Path(__file__).parent / "plans"
NOW_S: Final = 20_400 * 86_400
DATABASE: Final = "golden_plans"
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)

INSTANT: Final = Grid.instant(NOW_S * 1000)
ODD: Final = Grid.instant((NOW_S - 2_517) * 1000)
HOUR: Final = Grid((NOW_S - 3_600) * 1000, NOW_S * 1000, 60_000)
FINE: Final = Grid((NOW_S - 600) * 1000, NOW_S * 1000, 15_000)
DAYS: Final = Grid((NOW_S - 3 * 86_400) * 1000, NOW_S * 1000, 60_000)
DAY: Final = Grid((NOW_S - 86_400) * 1000, NOW_S * 1000, 3_600_000)

#: file name -> (expression, grid)
CASES: Final[dict[str, tuple[str, Grid]]] = {
    # counters
    "counter_total_instant": ("hits", INSTANT),
    "counter_total_range": ("hits", HOUR),
    "counter_offset": ('hits{route="a"} offset 10m', HOUR),
    "counter_at_end": ("hits @ end()", HOUR),
    "counter_rate": ("rate(hits[5m])", HOUR),
    "counter_rate_by_route": ("sum by (route) (rate(hits[5m]))", HOUR),
    "counter_rate_without_host": ("sum without (host) (rate(hits[5m]))", HOUR),
    "counter_rate_all": ("sum(rate(hits[5m]))", HOUR),
    "counter_rate_over_days": ("rate(hits[5m])", DAYS),
    "counter_rate_by_route_over_days": ("sum by (route) (rate(hits[5m]))", DAYS),
    "counter_rate_matched": ('sum by (route) (rate(hits{host!="h1"}[5m]))', HOUR),
    "counter_rate_fine_step": ("sum by (route) (rate(hits[1m]))", FINE),
    "counter_increase_of_steps_apart": ("sum by (route) (increase(hits[30m]))", DAY),
    "counter_increase_by_the_hour": ("sum by (route) (increase(hits[1h]))", DAY),
    "counter_increase_stitched": ("sum by (route) (increase(hits[2d]))", ODD),
    "counter_sum_of_totals": ("sum by (route) (hits)", HOUR),
    "counter_topk": ("topk(2, rate(hits[5m]))", INSTANT),
    "counter_samples": ("irate(hits[5m])", HOUR),
    "counter_ratio": ("sum(rate(hits[5m])) / on () group_left () sum(rate(hits[10m] offset 1h))", HOUR),
    "counter_same_leaf_twice": ("sum(rate(hits[5m])) / sum(rate(hits[5m]))", HOUR),
    # gauges
    "gauge_instant": ("temp", INSTANT),
    "gauge_range": ('temp{route=~"a|b"}', HOUR),
    "gauge_sum": ("sum by (route) (temp)", HOUR),
    "gauge_max_over_time": ("max_over_time(temp[10m])", HOUR),
    "gauge_timestamp": ("time() - timestamp(temp)", INSTANT),
    "gauge_samples": ("temp[5m]", INSTANT),
    "gauge_predict_linear": ("predict_linear(temp[10m] offset 1m, 600)", FINE),
    # distributions
    "distribution_total": ("lat", INSTANT),
    "distribution_quantile": ("histogram_quantile(0.99, sum by (route) (rate(lat[5m])))", HOUR),
    "distribution_quantile_over_time": ("quantile_over_time(0.9, lat[5m])", INSTANT),
    "distribution_max_over_time": ("max by (route) (max_over_time(lat[5m]))", HOUR),
    "distribution_classic_buckets": ("histogram_quantile(0.95, sum by (le) (rate(lat_bucket[5m])))", HOUR),
    "distribution_classic_count": ("sum by (route) (rate(lat_count[5m]))", HOUR),
    # sets
    "set_latest": ("users", INSTANT),
    "set_latest_by_route": ("sum by (route) (users)", HOUR),
    "set_over_time": ("sum by (route) (sum_over_time(users[1h]))", DAY),
    "set_over_sliding_windows": ("sum(uniq_over_time(users[5m]))", HOUR),
    "set_sums_of_sums": ("sum(sum by (route) (sum_over_time(users[1h])))", INSTANT),
    "set_stitched": ("sum(sum_over_time(users[2d]))", ODD),
    # everything else
    "two_types_under_one_name": ("sum by (__name__) (rate(mixed[5m]))", HOUR),
    "one_type_picked": ('mixed{__type__="gauge"}', INSTANT),
    "nothing_selected": ("sum(rate(nothing[5m]))", HOUR),
    "subquery": ("max_over_time(sum(rate(hits[1m]))[10m:1m])", HOUR),
    "subquery_at": ("avg_over_time((temp * 2)[5m:] @ start())", HOUR),
    "absent_over_time": ('absent_over_time(nothing{route="a",host=~"h.*"}[5m])', INSTANT),
    "count_values": ('count_values("value", temp)', INSTANT),
    "operators": ("-hits > bool on (route) group_left () sum by (route) (hits) or vector(1)", INSTANT),
    "no_data_at_all": ('label_replace(vector(1), "a", "$1", "b", "(.*)")', INSTANT),
}  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(chdb_path: Path) -> Iterator[Pipeline]:
    """Two routes on three hosts, a point a minute for two hours, and a few for two days."""
    with embedded(chdb_path, DATABASE) as store:
        made = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        ages_s = [*range(25, 7_200, 60), *range(10_000, 170_000, 9_000)]
        lines = []
        for age_s in ages_s:
            for route, host in (("a", "h1"), ("a", "h2"), ("b", "h1"), ("b", "h3")):
                tags = f"|#route:{route},host:{host}|T{NOW_S - age_s}"
                lines += [f"hits:2|c{tags}", f"temp:{age_s % 7}|g{tags}", f"users:u{age_s % 30}|s{tags}"]
                lines += [f"lat:{1 + age_s % 3}|d{tags}", f"lat:-1|d{tags}"]
            lines += [f"mixed:1|c|T{NOW_S - age_s}", f"mixed:5|g|T{NOW_S - age_s}"]
        made.send(lines)
        yield made
        made.close()


@pytest.mark.parametrize("name", CASES)
def test_plan_and_sql(pipeline: Pipeline, name: str, update_golden: bool) -> None:
    query, grid = CASES[name]
    text = described(pipeline, query, grid)
    file = PLANS / f"{name}.txt"
    if update_golden:
        file.write_text(text)
    assert file.read_text() == text, "pytest tests/golden --update-golden, and read the diff"


def test_no_file_is_left_over() -> None:
    assert {f.stem for f in PLANS.iterdir()} == CASES.keys()


def described(pipeline: Pipeline, query: str, grid: Grid) -> str:
    """Return the content of a golden file."""
    explain = pipeline.answer(query, grid, instant=grid.steps == 1, explain=True).explain
    assert explain is not None
    out = [query, f"at {_times(grid)}", "", "-- plan", *explain["plan"]]
    if explain["optimized"] != explain["plan"]:
        out += ["", "-- after the rules", *explain["optimized"]]
    statements = [(normal(pipeline.store, s["sql"]), s["rows"]) for s in explain["statements"]]
    for sql, rows in sorted(statements):
        out += ["", f"-- {rows} rows", sql]
    return "\n".join(_relative(line) for line in out) + "\n"


def normal(store: Store, sql: str) -> str:
    """Return the statement on many lines, with neither ids nor the name of the database."""
    [(formatted,)] = store.rows(
        "SELECT formatQuery({sql:String})", {"sql": sql.replace(f"`{DATABASE}`.", "")}
    )
    numbers: dict[str, str] = {}
    text: Any = re.sub(
        r"\b[0-9]{15,}\b", lambda m: numbers.setdefault(m[0], f"id{len(numbers) + 1}"), formatted
    )
    return re.sub(r"max_execution_time = \d+", "max_execution_time = ...", str(text))


def _times(grid: Grid) -> str:
    start = f"@{grid.start_ms // 1000}s"
    return start if grid.steps == 1 else f"{start}..{grid.end_ms // 1000}s/{grid.step_ms // 1000}s"


def _relative(line: str) -> str:
    """Return the line with times close to NOW_S (in s or ms) as distances from it in s."""

    def near(m: re.Match[str]) -> str:
        name, since = ("NOW", int(m[0])) if len(m[0]) == 10 else ("NOW_MS", int(m[0]) / 1000)
        distance = since - NOW_S
        return m[0] if abs(distance) > 400_000 else f"{name}{distance:+g}" if distance else name

    return re.sub(r"\b(?:[0-9]{10}|[0-9]{13})(?=s?\b)", near, line)
