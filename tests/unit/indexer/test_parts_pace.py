from __future__ import annotations

import pytest

from indexer.write.parts_pace import PartsPace, parts_of
from tests.support.frames import FrameRows, make_frame, unit


def test_parts_are_counted_by_kind_rollup_and_partition() -> None:
    counters = unit(make_frame(FrameRows(counters=[("a", {}, 0, 1.0)])))
    both = unit(make_frame(FrameRows(counters=[("a", {}, 86_400, 1.0)], sets=[("s", {}, 0, [1])])))
    beside = parts_of([counters]) - 4
    assert parts_of([counters, counters]) == 4 + beside
    assert parts_of([counters, both]) == 2 * 4 * 2 + beside


@pytest.mark.parametrize("parts", [1, 5, 18])
def test_the_rate_holds_on_average(parts: int) -> None:
    pace, now_ms, made = PartsPace(3.0), 1_000, 0
    while now_ms < 601_000:
        wait_ms = pace.wait_ms(now_ms)
        now_ms += max(wait_ms, 50)
        pace.made(parts, now_ms)
        made += parts
    assert made <= 3.0 * 600 + 30 + 2 * parts
    assert made >= min(0.9 * 3.0 * 600, parts / 0.05 * 600)


def test_rows_of_many_days_do_not_stop_the_next_batch_for_long() -> None:
    pace = PartsPace(3.0)
    pace.made(520, 5_000)
    assert 6_900 < pace.wait_ms(5_000) <= 7_001


def test_a_burst_goes_at_once_and_no_rate_means_no_wait() -> None:
    pace = PartsPace(3.0)
    assert pace.wait_ms(5_000) == 0
    pace.made(8, 5_000)
    assert pace.wait_ms(5_000) == 0
    assert pace.wait_ms(60_000) == 0
    pace.made(29, 60_000)
    assert pace.wait_ms(60_000) == 0
    pace.made(16, 60_000)
    assert 5_000 <= pace.wait_ms(60_000) <= 5_001
    none = PartsPace(0.0)
    none.made(10_000, 5_000)
    assert none.wait_ms(5_000) == 0


def test_kills_make_no_more_parts() -> None:
    """A process lasts 20 s, makes as many parts as it may, and another one takes its place."""
    made, now_ms = 0, 1_000
    for _ in range(30):
        pace, end_ms = PartsPace(3.0), now_ms + 20_000
        while (now_ms := now_ms + max(pace.wait_ms(now_ms), 50)) < end_ms:
            pace.made(20, now_ms)
            made += 20
    assert made <= 30 * (3 * 20 + 9 + 20)
