"""One block: rows for keys, sums and flags of them, samples added."""

from __future__ import annotations

import numpy as np
import pytest

from shim.read.cell_cache.chunk import CHUNK_SPAN_S, Chunk, ChunkKey, Sketch, Source, places, rows_of

SOURCE = Source(1, 1, (42,), "counters", "value")


def ids(*values: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(values, dtype=np.uint64)


def block() -> Chunk:
    values = np.array([[1.0, 0.0, 2.0], [3.0, 4.0, 0.0], [0.0, 5.0, 6.0]])
    return Chunk(ids(3, 5, 8), values, values > 0, 35)


@pytest.mark.parametrize("granularity_s", CHUNK_SPAN_S)
def test_places_cover_a_time_and_no_more(granularity_s: int) -> None:
    stretch_s = CHUNK_SPAN_S[granularity_s]
    assert stretch_s % granularity_s == 0
    found = places(SOURCE, granularity_s, 3 * stretch_s - granularity_s, 4 * stretch_s)
    assert [p.start_s for p in found] == [2 * stretch_s, 3 * stretch_s]
    assert found[0].end_s == found[1].start_s
    assert found[0].cells * granularity_s == stretch_s
    assert places(SOURCE, granularity_s, stretch_s, stretch_s) == []


@pytest.mark.parametrize(
    ("wanted", "group", "keys", "sums"),
    [
        ((3, 5, 8), None, [0, 1, 2], [[1, 0, 2], [3, 4, 0], [0, 5, 6]]),
        ((5,), None, [0], [[3, 4, 0]]),
        ((4, 5, 9), None, [1], [[3, 4, 0]]),
        ((1, 3, 4, 5, 6, 8, 9), None, [1, 3, 5], [[1, 0, 2], [3, 4, 0], [0, 5, 6]]),
        ((2, 4), None, [], []),
        ((3, 5, 8), [0, 0, 0], [0], [[4, 9, 8]]),
        ((3, 5, 8), [1, 1, 1], [1], [[4, 9, 8]]),
        ((3, 8), [0, 0], [0], [[1, 5, 8]]),
        ((3, 5, 8), [1, 0, 1], [0, 1], [[3, 4, 0], [1, 5, 8]]),
        ((3, 5, 7, 8), [2, 1, 0, 2], [1, 2], [[3, 4, 0], [1, 5, 8]]),
    ],
)  # fmt: skip
def test_rows_are_added_up_by_key(
    wanted: tuple[int, ...], group: list[int] | None, keys: list[int], sums: list[list[float]]
) -> None:
    one = block()
    rows = rows_of(one.ids, ids(*wanted), None if group is None else np.array(group))
    assert rows.keys.tolist() == keys
    found = rows.merged(one.values, np.add)
    assert found.tolist() == sums
    assert rows.any(one.rows).tolist() == (found > 0).tolist()


def test_a_block_without_series_has_no_rows() -> None:
    empty = Chunk(ids(), np.zeros((0, 3)), np.zeros((0, 3), dtype=bool), 35)
    for group in (None, np.array([0, 0])):
        rows = rows_of(empty.ids, ids(3, 5), group)
        assert rows.merged(empty.values, np.add).shape == (0, 3)
        assert rows.any(empty.rows).shape == (0, 3)


def test_samples_are_added_where_they_belong() -> None:
    one = block()
    one.add(ids(5, 5, 8), np.array([2, 2, 0]), np.array([1.0, 1.0, 7.0]), 65_535)
    assert one.values.tolist() == [[1, 0, 2], [3, 4, 2], [7, 5, 6]]
    assert one.rows.tolist() == [[True, False, True], [True, True, True], [True, True, True]]
    assert one.kept_days == 35


def test_series_that_were_not_there_get_rows() -> None:
    one = block()
    values = one.values
    one.add(ids(3, 4, 4, 9), np.array([1, 1, 1, 0]), np.array([9.0, 2.0, 2.0, 1.0]), 7)
    assert one.ids.tolist() == [3, 4, 5, 8, 9]
    assert one.values[:, :2].tolist() == [[1, 9], [0, 4], [3, 4], [0, 5], [1, 0]]
    assert one.rows[1].tolist() == [False, True, False]
    assert one.kept_days == 7
    assert values[0, 1] == 0, "who holds the old arrays sees nothing of it"
    empty = Chunk(ids(), np.zeros((0, 2)), np.zeros((0, 2), dtype=bool), 35)
    empty.add(ids(4), np.array([1]), np.array([0.0]), 35)
    assert empty.rows.tolist() == [[False, True]]


def test_the_latest_value_of_a_gauge_wins_and_of_equal_times_the_greatest() -> None:
    gauge = ChunkKey(SOURCE._replace(table="gauges", column="last"), 10, 0)
    assert gauge.source.timed
    ids = np.array([4], dtype=np.uint64)
    block = Chunk(ids, np.zeros((1, 3)), np.zeros((1, 3), dtype=bool), 7, np.zeros((1, 3), dtype=np.uint32))

    def add(series: int, cell: int, *found: tuple[int, float]) -> None:
        times_ms, values = (np.array(column) for column in zip(*found, strict=True))
        ids = np.full(len(found), series, dtype=np.uint64)
        block.add(ids, np.full(len(found), cell), values.astype(float), 30, times_ms.astype(np.int64))

    add(4, 1, (500, -2.0), (700, -3.0), (600, 9.0))
    assert (block.values[0, 1], block.rows[0].tolist()) == (-3.0, [False, True, False])
    add(4, 1, (699, 8.0))
    assert block.values[0, 1] == -3
    add(4, 1, (700, -1.0))
    assert block.values[0, 1] == -1
    add(9, 2, (0, 5.0))
    assert block.ids.tolist() == [4, 9]
    assert block.offset_ms is not None
    assert block.offset_ms.tolist() == [[0, 700, 0], [0, 0, 0]]
    assert block.values.tolist() == [[0, -1, 0], [0, 0, 5]]
    assert (block.kept_days, block.size_bytes) == (7, 2 * (3 * 13 + 8))
    cells = np.array([0, 2])
    assert gauge.offset_ms(cells, np.array([9_999, 20_000])) is not None
    assert gauge.offset_ms(cells, np.array([10_000, 20_000])) is None
    assert gauge.offset_ms(cells, np.array([0, 19_999])) is None


def test_extremes_merge_where_there_is_a_row() -> None:
    low = Chunk(
        np.array([4], dtype=np.uint64), np.zeros((1, 2)), np.zeros((1, 2), dtype=bool), 7, merge="min"
    )
    for value in (5.0, 3.0, 4.0):
        low.add(np.array([4], dtype=np.uint64), np.array([1]), np.array([value]), 7)
    assert low.values.tolist() == [[0, 3]]


@pytest.mark.parametrize(
    ("counts", "kind"), [([0, 3, 65_535], "u2"), ([0, 65_536], "f8"), ([0, 0.5], "f8"), ([-1, 2], "f8")]
)
def test_a_sketch_takes_two_bytes_a_count_where_that_holds_it(counts: list[float], kind: str) -> None:
    found = Sketch.of(7, np.array([[[0.0, *counts, 0.0]]]), 30)
    first = next(i for i, count in enumerate(counts) if count)
    assert found.first == 8 + first
    assert found.counts.tolist() == [[counts[first:]]]
    assert found.counts.dtype.str[1:] == kind


def test_a_sketch_of_nothing() -> None:
    found = Sketch.of(7, np.zeros((2, 3, 4)), 30)
    assert found.empty
    assert found.counts.shape == (2, 3, 0)
    assert found.size_bytes  # or there could be any number of them
