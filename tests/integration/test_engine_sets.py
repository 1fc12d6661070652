"""Sets over grids of every kind: a range query equals the instant queries, up to the live edge."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from indexer.clickhouse.store import Store
from tests.support.pipeline import Pipeline

NOW_S = 1_763_000_000 // 3_600 * 3_600
QUERIES = (
    "users",
    "sum(users)",
    "sum by (region) (users)",
    "sum_over_time(users[1m])",
    "sum(uniq_over_time(users[90s]))",
)


@pytest.fixture
def pipeline(store: Store) -> Iterator[Pipeline]:
    opened = Pipeline.open(store, NOW_S * 1000, settle_s=5.0)
    opened.send(
        f"users:u{i % 7 + i // 60}|s|#region:{'eu' if i % 3 else 'us'},host:h{i % 2}|T{NOW_S - 600 + i}"
        for i in range(0, 584, 4)
    )
    opened.send(  # more of some buckets, in rows of their own until they are merged
        f"users:late{i % 5}|s|#region:{'eu' if i % 3 else 'us'},host:h0|T{NOW_S - 600 + i}"
        for i in range(3, 560, 17)
    )
    yield opened
    opened.close()


@pytest.mark.parametrize("step_s", [5, 10, 15, 60, 70])
@pytest.mark.parametrize("query", QUERIES)
def test_a_range_of_sets_is_its_instants(pipeline: Pipeline, query: str, step_s: int) -> None:
    start_s = NOW_S - 20 * step_s
    ranged = pipeline.range(query, start_s, NOW_S, step_s)
    shown = min(len(v) for v in ranged.values())
    assert shown in (19, 20, 21)  # a range query ends at its last step that cannot change
    for k in (k for k in (0, 1, 7, 13, 18, 19, 20) if k < shown):
        here = {labels: v[k] for labels, v in ranged.items() if v[k] is not None}
        assert here == pipeline.instant(query, start_s + k * step_s), k


def test_a_set_is_alive_as_long_as_other_types_behind_the_live_edge(pipeline: Pipeline) -> None:
    last_s = NOW_S - 20  # the last bucket with lines; it has settled
    assert pipeline.instant("sum(users)", last_s + 300)
    assert not pipeline.instant("sum(users)", last_s + 310)
