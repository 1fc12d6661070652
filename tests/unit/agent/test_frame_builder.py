"""Frames from buckets: how they are cut, and that they can always be taken."""

from __future__ import annotations

from itertools import count
from math import isfinite

import pytest

from agent.aggregate.aggregator import Aggregator
from agent.core.frame_builder import build_frames
from agent.protocol.line import MAX_NUMBER
from agent.settings import AggregateSettings
from agent.wire.frame import Frame, Sender
from tests.unit.agent.state import state_of, state_of_frames

T = 1_700_000_000_000
B = T // 1000
SENDER = Sender(agent="a", epoch=9)


def frames(lines: bytes, max_rows: int = 100, max_bytes: int = 1 << 20) -> list[Frame]:
    aggregator = Aggregator(AggregateSettings(lateness_s=10**6))
    aggregator.add(lines, T)
    made = build_frames(aggregator.flush_all(T), SENDER, count(5), T, max_rows=max_rows, max_bytes=max_bytes)
    return list(made)


def test_nothing_makes_no_frame() -> None:
    assert frames(b"") == []


@pytest.mark.parametrize(
    ("rows", "max_rows", "sizes"), [(10, 10, [10]), (11, 10, [10, 1]), (3, 1, [1, 1, 1])]
)
def test_rows_of_a_frame_are_bounded(rows: int, max_rows: int, sizes: list[int]) -> None:
    made = frames(b"\n".join(b"x%d:1|c" % i for i in range(rows)), max_rows)
    assert [frame.rows for frame in made] == sizes
    assert [frame.sequence for frame in made] == list(range(5, 5 + len(sizes)))
    assert made[0].identity == "a/9/5"


@pytest.mark.parametrize(
    "template",
    [
        "x%06d:1|c|#tag:" + "v" * 300,
        "u%06d:" + "m|s",
        "d%06d:" + ":".join(f"1e{i}" for i in range(80)) + "|d",
    ],
    ids=["strings", "rows", "histograms"],
)
def test_bytes_of_a_frame_are_bounded(template: str) -> None:
    lines = "\n".join(template % i for i in range(400)).encode()
    made = frames(lines, max_rows=10**6, max_bytes=20_000)
    assert len(made) > 1
    for frame in made:
        size = sum(map(len, frame.strings))
        for columns in (frame.series, frame.counters, frame.distributions, frame.sets):
            size += sum(len(getattr(columns, name)) for name in columns.__struct_fields__)
        assert size <= 20_000 * 2  # about: fixed columns differ by type
    assert sum(frame.rows for frame in made) == 400


def test_a_row_larger_than_a_frame_has_one_of_its_own() -> None:
    members = b"\n".join(b"u:%d|s" % i for i in range(5_000))
    made = frames(b"a:1|c\n" + members + b"\nz:1|c", max_bytes=10_000)
    assert [frame.rows for frame in made] == [1, 1, 1]
    assert len(made[1].sets.member) == 8 * 5_000


def test_a_series_stands_once_for_all_its_buckets() -> None:
    (frame,) = frames(b"\n".join(b"x:1|c|#k:v|T%d" % (B - 10 * i) for i in range(50)))
    assert frame.rows == 50
    assert len(frame.series.name) == 4
    assert frame.strings == ["x", "k", "v"]


def test_sums_that_overflow_stay_finite_and_spare_their_neighbours() -> None:
    """The indexer refuses a frame with an infinity; no input makes one."""
    wild = b"c:1.7e308|c\nc:1.7e308|c\ng:1.7e308|g\ng:1.7e308|g\nd:1e200|d\nd:-1.7e308|d\nd:-1.7e308|d"
    (frame,) = frames(wild + b"\nfine:1|c\nfine:2|d")
    for columns, names in (
        (frame.counters, ("value",)),
        (frame.gauges, ("last", "min", "max", "sum", "count")),
        (frame.distributions, ("count", "sum", "sum_squares", "min", "max", "zero")),
    ):
        for name in names:
            assert all(map(isfinite, memoryview(getattr(columns, name)).cast("d"))), name
    state = state_of_frames([frame])
    assert state["counter", "c", (), B] == MAX_NUMBER
    assert state["counter", "fine", (), B] == 1.0
    assert state["distribution", "d", (), B]["sum"] == -MAX_NUMBER
    assert state["distribution", "fine", (), B]["sum_squares"] == 4.0


def test_an_infinity_less_an_infinity_is_nothing() -> None:
    halves = b"d:1.7e308:1.7e308|d\nd:-1.7e308:-1.7e308:-1.7e308:-1.7e308|d"
    (frame,) = frames(halves)
    assert all(map(isfinite, memoryview(frame.distributions.sum).cast("d")))


def test_what_is_sent_is_what_was_held() -> None:
    aggregator = Aggregator()
    aggregator.add(b"x:1|c\ny:2|g\nz:3:4|d\nw:a|s", T)
    buckets = aggregator.flush_all(T)
    expected = state_of(buckets)
    made = build_frames(buckets, SENDER, count(), T, max_rows=3, max_bytes=1 << 20)
    assert state_of_frames(made) == expected
