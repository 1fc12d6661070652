from __future__ import annotations

import sys
from typing import Any

import msgspec
import numpy as np
import pytest

from agent.aggregate.exponential_buckets import MAX_INDEX, MIN_INDEX, index_of
from agent.wire.frame import Frame, FrameError
from indexer.clickhouse.native_format import Block, Ragged
from indexer.clickhouse.schema import KINDS
from indexer.write.frame_to_columns import (
    KEEP,
    check,
    concat,
    has_mergeable_rows,
    ranges,
    series_rows,
    sort,
    split_rows,
    to_rows,
)
from tests.support.frames import FrameRows, counter_frame, make_frame

DAY = 20_000
NOON = DAY * 86_400 + 43_200


def ids(frame: Frame) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.arange(100, 100 + len(frame.strings), dtype=np.uint64)


def u32(*values: int) -> bytes:
    return np.array(values, "<u4").tobytes()


FRAME = make_frame(
    FrameRows(
        counters=[("hits", {"host": "a"}, NOON, 1.0), ("hits", {"host": "b", "zone": "z"}, NOON, 2.0)],
        gauges=[("depth", {}, NOON, (NOON * 1000, 5, 1, 9, 15, 3))],
        distributions=[("took", {}, NOON, [1.0, 1.0, -2.0, 0.0])],
        sets=[("users", {"host": "a"}, NOON, [7, 2**64 - 1])],
    ),
    org_id=3,
    project_id=4,
)


def test_a_good_frame() -> None:
    check(FRAME, latest_s=NOON)


def test_columns_of_every_kind() -> None:
    rows = to_rows(FRAME, ids(FRAME))
    assert list(rows.blocks) == ["counters", "gauges", "distributions", "sets"]
    counters = rows.blocks["counters"]
    assert counters["org_id"].tolist() == [3, 3]  # type: ignore[union-attr]
    assert counters["retention_days"].tolist() == [KEEP, KEEP]  # type: ignore[union-attr]
    assert counters["value"].tolist() == [1, 2]  # type: ignore[union-attr]
    member = rows.blocks["sets"]["member"]
    assert isinstance(member, Ragged)
    assert member.values.tolist() == [7, 2**64 - 1]
    positive = rows.blocks["distributions"]["positive_index"]
    assert isinstance(positive, Ragged)
    assert (positive.lengths.tolist(), positive.values.tolist()) == ([1], [0])


def test_same_frame_same_rows() -> None:
    a, b = (to_rows(FRAME, ids(FRAME)).blocks["counters"] for _ in range(2))
    assert all(np.array_equal(a[n], b[n]) for n in a)  # type: ignore[arg-type]


def test_series_rows_of_the_wanted_ones() -> None:
    rows = to_rows(FRAME, ids(FRAME))
    sighting = rows.sightings("counters")[0]
    assert (sighting.kind, sighting.day, len(sighting.index)) == ("counters", DAY, 2)
    got = series_rows(rows.series, sighting, np.array([False, True]))
    strings = dict(zip(FRAME.strings, ids(FRAME).tolist(), strict=True))
    keys, values = got["tag_keys"], got["tag_values"]
    assert isinstance(keys, Ragged)
    assert isinstance(values, Ragged)
    assert keys.values.tolist() == [strings["host"], strings["zone"]]
    assert values.values.tolist() == [strings["b"], strings["z"]]
    assert got["series_id"].tolist() == rows.blocks["counters"]["series_id"].tolist()[1:]  # type: ignore[union-attr]


def test_sightings_by_day_and_kind() -> None:
    midnight = (DAY + 1) * 86_400
    frame = make_frame(
        FrameRows(
            counters=[("a", {}, midnight - 10, 1.0), ("a", {}, midnight, 1.0), ("b", {}, midnight, 1.0)],
            gauges=[("a", {}, midnight, (0, 1, 1, 1, 1, 1))],
        )
    )
    rows = to_rows(frame, ids(frame))
    seen = [(s.kind, s.day, s.index.tolist()) for kind in KINDS for s in rows.sightings(kind)]
    assert seen == [("counters", DAY, [0]), ("counters", DAY + 1, [0, 1]), ("gauges", DAY + 1, [0])]


def test_a_bucket_at_zero_is_seen_too() -> None:
    frame = counter_frame({"a": 1.0}, 0)
    assert [s.index.tolist() for s in to_rows(frame, ids(frame)).sightings("counters")] == [[0]]


def test_type_is_part_of_the_series_id() -> None:
    frame = make_frame(
        FrameRows(counters=[("a", {}, NOON, 1.0)], gauges=[("a", {}, NOON, (0, 1, 1, 1, 1, 1))])
    )
    blocks = to_rows(frame, ids(frame)).blocks
    assert blocks["counters"]["series_id"][0] != blocks["gauges"]["series_id"][0]  # type: ignore[index]


def replaced(part: str, **changes: bytes) -> Frame:
    return msgspec.structs.replace(FRAME, **{part: msgspec.structs.replace(getattr(FRAME, part), **changes)})


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (replaced("series", name=u32(99, 0, 0, 0, 0)), "Series.name: index 99"),
        (replaced("series", tag_key=u32(0, 0, 0, 99)), "Series.tag_key: index 99"),
        (replaced("series", tag_value=u32(0, 0, 0, 99)), "Series.tag_value: index 99"),
        (replaced("counters", series=u32(0, 5)), "Counters.series: index 5: expected less than 5"),
        (replaced("sets", series=u32(2**32 - 1)), "Sets.series: index"),
        (replaced("counters", bucket=u32(NOON, NOON + 5)), "Counters.bucket: expected multiples of 10 s"),
        (replaced("gauges", bucket=u32(NOON + 10)), "in the future"),
        (replaced("counters", value=np.array([1, np.nan]).tobytes()), "Counters.value: not a finite"),
        (replaced("gauges", max=np.array([np.inf]).tobytes()), "Gauges.max: not a finite"),
        (
            replaced("distributions", positive_count=np.array([np.nan]).tobytes()),
            "positive_count: not a finite",
        ),
        (msgspec.structs.replace(FRAME, org_id=0), "org_id: 0"),
        (msgspec.structs.replace(FRAME, project_id=2**32), "project_id"),
        (msgspec.structs.replace(FRAME, retention_days=-1), "retention_days"),
        (msgspec.structs.replace(FRAME, retention_days=65_536), "retention_days"),
    ],
)
def test_what_cannot_be_stored_is_refused(frame: Frame, reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        check(frame, latest_s=NOON)


def test_ranges() -> None:
    assert ranges(np.array([5, 0, 2]), np.array([2, 0, 3])).tolist() == [5, 6, 2, 3, 4]
    assert ranges(np.zeros(0, int), np.zeros(0, int)).tolist() == []


def test_sort_brings_rows_into_the_order_of_the_keys() -> None:
    n = 200
    rng = np.random.default_rng(1)
    lengths = rng.integers(0, 4, n)
    block: Block = {k: rng.integers(0, 4, n).astype("u8") for k in KEYS}
    block["value"] = np.arange(n, dtype="f8")
    block["member"] = Ragged(lengths, np.repeat(np.arange(n), lengths).astype("u8"))
    got = sort(block)
    rows = list(zip(*(got[k].tolist() for k in (*KEYS, "value")), strict=True))  # type: ignore[union-attr]
    assert rows == sorted(zip(*(block[k].tolist() for k in (*KEYS, "value")), strict=True))  # type: ignore[union-attr]
    member, values = got["member"], got["value"]
    assert isinstance(member, Ragged)
    assert isinstance(values, np.ndarray)
    assert np.array_equal(member.lengths, lengths[values.astype(int)])
    assert np.array_equal(member.values, np.repeat(values, member.lengths).astype("u8"))


def test_a_block_folds_where_series_come_again() -> None:
    once: Block = {"series_id": np.arange(100, dtype=np.uint64)}
    assert not has_mergeable_rows(once)
    seldom: Block = {"series_id": np.minimum(np.arange(100), 95).astype(np.uint64)}  # four of a hundred
    assert not has_mergeable_rows(seldom)
    twice: Block = {"series_id": np.arange(100, dtype=np.uint64) // 2}
    assert has_mergeable_rows(twice)
    assert not has_mergeable_rows({"series_id": np.zeros(0, np.uint64)})


KEYS = ("org_id", "project_id", "metric_id", "series_id", "bucket")


def test_join_and_cut_are_opposites() -> None:
    block: Block = {
        "series_id": np.arange(7, dtype=np.uint64),
        "member": Ragged(np.array([0, 1, 2, 0, 3, 1, 0]), np.arange(7, dtype=np.uint64)),
    }
    pieces = split_rows(block, 3)
    assert [len(p["series_id"]) for p in pieces] == [3, 3, 1]
    again = concat(pieces)
    assert np.array_equal(again["series_id"], block["series_id"])  # type: ignore[arg-type]
    a, b = again["member"], block["member"]
    assert isinstance(a, Ragged)
    assert isinstance(b, Ragged)
    assert np.array_equal(a.values, b.values)
    assert np.array_equal(a.lengths, b.lengths)
    assert split_rows(block, 7) == [block]


def _with_sketch(**changes: bytes) -> Frame:
    return msgspec.structs.replace(
        FRAME, distributions=msgspec.structs.replace(FRAME.distributions, **changes)
    )


@pytest.mark.parametrize("index", [-(2**31), -34_369, 32_769, 2**21, 2**31 - 1])
@pytest.mark.parametrize("side", ["positive", "negative"])
def test_bucket_indexes_that_no_number_has_are_refused(side: str, index: int) -> None:
    """Two of them far apart made a query allocate gigabytes of buckets."""
    with pytest.raises(FrameError, match=rf"Distributions\.{side}_index: .*expected -34368 .. 32768"):
        check(_with_sketch(**{f"{side}_index": np.array([index], "<i4").tobytes()}), latest_s=NOON)


@pytest.mark.parametrize("value", [5e-324, sys.float_info.max])
def test_bucket_indexes_of_the_smallest_and_the_largest_number_are_taken(value: float) -> None:
    index = index_of(value)
    assert index in (MIN_INDEX, MAX_INDEX)
    check(_with_sketch(positive_index=np.array([index], "<i4").tobytes()), latest_s=NOON)


@pytest.mark.parametrize("name", ["count", "zero", "positive_count", "negative_count"])
def test_counts_of_less_than_nothing_are_refused(name: str) -> None:
    with pytest.raises(FrameError, match=rf"Distributions\.{name}: -1.0 is negative: expected 0 or more"):
        check(_with_sketch(**{name: np.array([-1.0], "<f8").tobytes()}), latest_s=NOON)


def test_strings_longer_than_any_line_are_refused() -> None:
    with pytest.raises(FrameError, match="strings: one of 65537 characters"):
        check(counter_frame({"x" * 65_537: 1.0}, NOON), latest_s=NOON)
    with pytest.raises(FrameError, match="agent: 2000 characters"):
        check(counter_frame({"x": 1.0}, NOON, agent="a" * 2_000), latest_s=NOON)


def test_equal_members_of_a_large_row_are_refused() -> None:
    """16 frames of 1,679 bytes, each a row of 6.5 million equal members, took 3.3 GiB."""
    different = [int(m) for m in np.random.default_rng(1).integers(0, 2**64, 20_000, np.uint64)]
    rows = FrameRows(sets=[("s", {}, NOON, [1, 1]), ("s", {"a": "b"}, NOON, different)])
    check(make_frame(rows), latest_s=NOON)
    rows.sets[1] = ("s", {"a": "b"}, NOON, [*different, different[7]])
    with pytest.raises(FrameError, match=r"Sets\.member: equal members in row 1"):
        check(make_frame(rows), latest_s=NOON)
