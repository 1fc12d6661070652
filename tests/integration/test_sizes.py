"""Metrics of 20,000 series of each type, by statement: embedded, and over HTTP with a server's limits.

Readings in small slices of the series equal readings of all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from indexer.clickhouse.schema import Retention, migrate
from indexer.clickhouse.store import open_store
from shim.model.grid import Grid
from shim.model.values import Vector
from tests.support.pipeline import Pipeline
from tests.support.worlds import migrated

NOW_S: Final = 20_400 * 86_400
SERIES: Final = 20_000
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)
HOUR: Final = Grid((NOW_S - 3_600) * 1000, NOW_S * 1000, 600_000)

#: Query, series of the answer, and the sum of its values now.
QUERIES: Final = [
    ("sum(increase(c[5m]))", 1, 2 * SERIES),
    ("sum by (few) (increase(c[5m]))", 7, 2 * SERIES),
    ("sum by (many) (increase(c[5m]))", SERIES // 2, 2 * SERIES),
    ("topk(3, increase(c[5m]))", 3, 6),
    ("sum(c)", 1, 2 * SERIES),
    ('sum(increase(c{u=~"u.*[1357]"}[5m]))', 1, 2 * 4 * SERIES // 10),
    ('c{u="u77"}', 1, 2),
    ("quantile(0.5, g)", 1, 3),
    ("sum(max_over_time(g[10m]))", 1, 3 * SERIES),
    ("sum by (many) (g)", SERIES // 2, 3 * SERIES),
    ("histogram_count(sum(rate(d[5m]))) * 300", 1, SERIES),
    ("histogram_count(sum by (few) (increase(d[5m])))", 7, SERIES),
    ("max(max_over_time(d[5m]))", 1, 4),
    ("sum by (few) (rate(d_count[5m])) * 300", 7, SERIES),
    ("sum(s)", 1, 1_000),
    ("sum by (few) (sum_over_time(s[5m]))", 7, 7_000),
    ('topk(10, count({__name__=~".+"}) by (__name__))', 4, 4 * SERIES),
]


@pytest.fixture(scope="module", params=["chdb", "http"])
def large(request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    if request.param == "chdb":
        dsn = f"chdb://{request.getfixturevalue('chdb_path')}?database=sizes"
    else:
        dsn = f"http://127.0.0.1:{request.getfixturevalue('clickhouse_port')}/sizes"
    with migrated(dsn) as store:
        pipeline = Pipeline.open(store, NOW_S * 1000, retention=KEPT)
        pipeline.max_frame_rows = 4 * SERIES
        pipeline.send(lines(SERIES, NOW_S - 40))
        yield pipeline
        pipeline.close()


def lines(series: int, at_s: int) -> Iterator[str]:
    for i in range(series):
        tags = f"|#u:u{i},few:f{i % 7},many:m{i % (series // 2)}|T{at_s}"
        yield f"c:2|c{tags}"
        yield f"g:3|g{tags}"
        yield f"d:4|d{tags}"
        yield f"s:member{i % 1_000}|s{tags}"


@pytest.mark.parametrize(("query", "series", "total"), QUERIES)
def test_every_type_answers(large: Pipeline, query: str, series: int, total: float) -> None:
    found = large.instant(query, NOW_S)
    assert len(found) == series
    assert sum(found.values()) == pytest.approx(total, rel=0.02)
    last = {
        labels: values[-1] for labels, values in large.range(query, HOUR.start_ms / 1000, NOW_S, 600).items()
    }
    assert last == pytest.approx(found)


SLICED: Final = [
    "increase(c[5m])", "c", 'increase(c{odd="1"}[7m])', "irate(c[1h])", "g", 'g{odd="0"}',
    "max_over_time(g[10m])", "avg_over_time(g[7m])", "delta(g[1h])", "max_over_time(d[5m])",
    "rate(d_sum[5m])", "stddev_over_time(d[20m])", "s", 's{odd="1"}', "sum_over_time(s[20m])",
    "sum by (u) (sum_over_time(s[20m]))", "sum by (u) (s)",
]  # fmt: skip


@pytest.fixture(scope="module")
def twice(request: pytest.FixtureRequest) -> Iterator[tuple[Pipeline, Pipeline]]:
    """Provide the same data read at once and in small slices."""
    store = open_store(f"chdb://{request.getfixturevalue('chdb_path')}?database=slices", pool=4)
    migrate(store, KEPT)
    one = Pipeline.open(store, NOW_S * 1000, retention=KEPT, few_rows=0)
    sent: list[str] = []
    for age_s in range(25, 4_500, 290):
        for i in range(age_s % 3, 40, 3):
            tags = f"|#u:u{i},odd:{i % 2}|T{NOW_S - age_s}"
            sent += [f"c:{i}|c{tags}", f"g:{i + age_s}|g{tags}", f"d:{1 + i}|d{tags}", f"s:m{i % 5}|s{tags}"]
    one.send(sent)
    other = Pipeline.open(store, NOW_S * 1000, retention=KEPT, few_rows=0, slice_cells=500)
    yield one, other
    one.close()
    other.close()
    store.command("DROP DATABASE IF EXISTS slices SYNC")
    store.close()


@pytest.mark.parametrize("query", SLICED)
@pytest.mark.parametrize("step_s", [60, 3_600])
def test_slices_give_the_same(twice: tuple[Pipeline, Pipeline], query: str, step_s: int) -> None:
    grid = Grid((NOW_S - 3_600) * 1000, NOW_S * 1000, step_s * 1000)
    whole, sliced = (p.answer(query, grid, instant=False, explain=True) for p in twice)
    assert isinstance(whole.value, Vector)
    assert isinstance(sliced.value, Vector)
    assert whole.explain is not None
    assert sliced.explain is not None
    assert sliced.value.labels == whole.value.labels
    assert (sliced.value.present == whole.value.present).all()
    assert whole.value.present.any()
    present = whole.value.present
    assert sliced.value.values[present] == pytest.approx(whole.value.values[present])
    if step_s == 60 and not query.startswith("irate"):  # whose deltas come in one statement
        assert len(sliced.explain["statements"]) > len(whole.explain["statements"])
