"""Rows that a clock had put into the future come back; others, and all values, stay."""

from __future__ import annotations

from agent.wire.restamp import restamped
from tests.support.frames import FrameRows, make_frame
from tests.unit.agent.state import state_of_frames

NOW_MS = 1_700_000_003_456
NOW_S = 1_700_000_000
DAY_S = 86_400


def test_rows_of_all_types_move_by_whole_buckets() -> None:
    ahead_s = 2 * DAY_S

    def rows(offset_s: int) -> FrameRows:
        at = NOW_S + offset_s
        return FrameRows(
            counters=[("c", {}, at - 10, 1.0), ("c", {}, at, 2.0), ("old", {}, NOW_S - 600, 3.0)],
            gauges=[("g", {}, at, (at * 1000 + 123, 1, 1, 1, 1, 1))],
            sets=[("s", {}, at, [1, 2])],
        )

    frame, moved = restamped(make_frame(rows(ahead_s)), NOW_MS, 70_000, ahead_s * 1000 - 4_000)
    assert moved == 4
    assert state_of_frames([frame]) == state_of_frames([make_frame(rows(0))])


def test_nothing_is_put_beyond_the_present() -> None:
    frame, moved = restamped(
        make_frame(FrameRows(counters=[("c", {}, NOW_S + 9 * DAY_S, 1.0)])), NOW_MS, 70_000, DAY_S * 1000
    )
    assert moved == 1
    assert state_of_frames([frame]) == state_of_frames(
        [make_frame(FrameRows(counters=[("c", {}, NOW_S, 1.0)]))]
    )


def test_a_frame_of_the_present_is_the_same() -> None:
    frame = make_frame(FrameRows(counters=[("c", {}, NOW_S + 70, 1.0)]))
    assert restamped(frame, NOW_MS, 70_000, DAY_S * 1000) == (frame, 0)
