"""How far back rows are kept, over changes of the retention."""

from __future__ import annotations

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.eras import Era, kept_from

DAY_S = 86_400
NOW_S = 1_000 * DAY_S


def kept_days(*eras: tuple[int, int]) -> float:
    """Return for how many days all 10 s rows are kept, after eras (days since their start, retention)."""
    made = [Era((NOW_S - ago * DAY_S) * 1000, Retention(days_10s=days), ()) for ago, days in eras]
    return (NOW_S - dict(kept_from(made, NOW_S))[10]) / DAY_S


def test_rows_of_before_a_longer_retention_are_gone() -> None:
    assert kept_days((1_000, 35)) == 35
    assert kept_days((1_000, 7), (0, 35)) == 7
    assert kept_days((1_000, 7), (20, 35)) == 20
    assert kept_days((1_000, 7), (100, 35)) == 35
    assert kept_days((1_000, 35), (3, 7)) == 7
    assert kept_days((1_000, 7), (-1, 35)) == 7  # noted, not valid yet
