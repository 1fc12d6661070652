"""INSERTs announced: the rows they touch, their order, and that pauses hold them up."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.clickhouse.native_format import Block
from indexer.write.frame_to_columns import sort
from indexer.write.insert_feed import InsertFeed, InsertFootprint, RowRange


def block(*rows: tuple[int, int, int, int]) -> Block:
    """Of (org, project, metric, bucket), sorted as they are written."""
    names = {"org_id": np.uint32, "project_id": np.uint32, "metric_id": np.uint64, "bucket": np.uint32}
    columns = zip(names.items(), zip(*rows, strict=True), strict=True)
    key: Block = {name: np.array(values, dtype) for (name, dtype), values in columns}
    return sort({**key, "series_id": np.ones(len(rows), np.uint64), "value": np.ones(len(rows))})


class Heard:
    def __init__(self) -> None:
        self.said: list[tuple[str, InsertFootprint, Block | None]] = []

    def insert_started(self, footprint: InsertFootprint) -> None:
        self.said.append(("begins", footprint, None))

    def insert_finished(self, footprint: InsertFootprint, block: Block | None) -> None:
        self.said.append(("ends", footprint, block))


def test_spans_are_by_metric_and_project() -> None:
    huge = (1 << 64) - 1
    rows = ((1, 2, 9, 30), (1, 1, 9, 50), (2, 1, 9, 10), (1, 1, 7, 20), (1, 1, 9, 40), (2, 1, huge, 10))
    footprint = InsertFootprint("counters", block(*rows))
    assert footprint.row_ranges(1, 7) == [RowRange(1, 0, 1, 20, 20)]
    assert footprint.row_ranges(1, 9) == [RowRange(1, 1, 3, 40, 50), RowRange(2, 3, 4, 30, 30)]
    assert footprint.row_ranges(2, 9) == [RowRange(1, 4, 5, 10, 10)]
    assert footprint.row_ranges(2, huge) == [RowRange(1, 5, 6, 10, 10)]
    assert footprint.row_ranges(2, 7) == footprint.row_ranges(1, 8) == footprint.row_ranges(3, 9) == []


def test_a_first_insert_ends_with_its_rows() -> None:
    written, heard = InsertFeed(), Heard()
    written.subscribe(heard)
    rows = block((1, 1, 9, 10))
    with written.announce("counters", rows, first=True):
        assert [said for said, _, _ in heard.said] == ["begins"]
    (_, begun, _), (said, ended, given) = heard.said
    assert said == "ends"
    assert begun is ended
    assert given is rows


@pytest.mark.parametrize("first", [True, False])
def test_what_failed_or_repeats_ends_without_rows(first: bool) -> None:
    written, heard = InsertFeed(), Heard()
    written.subscribe(heard)

    def attempt() -> None:
        with written.announce("counters", block((1, 1, 9, 10)), first=first):
            if first:
                raise OSError("disk")

    if first:
        with pytest.raises(OSError, match="disk"):
            attempt()
    else:
        attempt()
    assert heard.said[1][0] == "ends"
    assert heard.said[1][2] is None


def test_who_comes_late_hears_of_what_is_under_way() -> None:
    written, heard = InsertFeed(), Heard()
    with written.announce("counters", block((1, 1, 9, 10)), first=True):
        written.subscribe(heard)
        assert [said for said, _, _ in heard.said] == ["begins"]
    assert [said for said, _, _ in heard.said] == ["begins", "ends"]
