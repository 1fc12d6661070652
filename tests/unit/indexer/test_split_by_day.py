"""Rows by their days: nothing is lost or doubled when a unit is cut, and the rest is unchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from agent.wire.frame import Frame, decode
from indexer.clickhouse.native_format import Block, ColumnData, Ragged
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.metric_types import KINDS
from indexer.settings import Limits
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.frame_to_columns import DAY_S, to_rows
from indexer.write.split_by_day import (
    MAX_DAYS,
    RetentionRules,
    day_groups,
    expired_rows,
    of_group,
    without_expired,
)
from tests.support.frames import FrameRows, counter_frame, make_frame, unit

GROUP_S = MAX_DAYS * DAY_S
DAY = 20_000 // MAX_DAYS * MAX_DAYS  # the first of a group


def mixed(days: range) -> Frame:
    rows = FrameRows()
    for day in days:
        at, tags = day * DAY_S, {"host": f"h{day % 7}", "day": f"d{day}"}
        rows.counters.append(("hits", tags, at, float(day)))
        rows.gauges.append(("depth", {}, at, (at * 1000, day, 0, day, day, 1)))
        rows.distributions.append(("took", tags, at, [0.0, *(-float(i) for i in range(day % 4)), 2.0]))
        rows.sets.append(("users", {"host": "a"}, at, list(range(day % 5))))
    return make_frame(rows)


def stored(*units: AcceptedFrame) -> Counter[tuple[object, ...]]:
    """All rows as they would be inserted, with the tags of their series."""
    rows: Counter[tuple[object, ...]] = Counter()
    for one in units:
        ids = np.array([hash(s) & (1 << 62) - 1 for s in one.frame.strings], np.uint64)
        resolved = to_rows(one.frame, one.with_given(ids))
        for kind in KINDS:
            if kind in resolved.blocks:
                rows.update((kind, *row) for row in rows_of(resolved.blocks[kind]))
    return rows


def rows_of(block: Block) -> list[tuple[object, ...]]:
    return list(zip(*map(values_of, block.values()), strict=True))


def values_of(column: ColumnData) -> list[object]:
    if isinstance(column, Ragged):
        ends = np.cumsum(column.lengths)[:-1]
        return [tuple(part.tolist()) for part in np.split(column.values, ends)]
    assert isinstance(column, np.ndarray)
    return column.tolist()  # type: ignore[no-any-return]


def test_a_unit_is_cut_into_its_groups_of_days() -> None:
    whole = unit(mixed(range(DAY + 5, DAY + 3 * MAX_DAYS)))
    groups = day_groups(whole.frame)
    assert groups == [DAY // MAX_DAYS + i for i in range(3)]
    parts = [of_group(whole, group, last=group == groups[-1]) for group in groups]
    assert stored(*parts) == stored(whole)
    assert [len(part.partitions) for part in parts] == [MAX_DAYS - 5, MAX_DAYS, MAX_DAYS]
    assert parts[-1].identity == whole.identity
    assert len({part.identity for part in parts}) == 3
    for part in parts:
        assert decode(part.body) == part.frame
        assert part.digest == whole.digest
        assert len(part.frame.strings) < len(whole.frame.strings)


def test_the_group_of_a_row_depends_on_its_time_alone() -> None:
    whole = unit(mixed(range(DAY, DAY + 2 * MAX_DAYS)))
    later = without_expired(whole, DAY + 7)
    for last, group in ((False, DAY // MAX_DAYS), (True, DAY // MAX_DAYS + 1)):
        part, again = (of_group(u, group, last=last) for u in (whole, later))
        assert part.identity == again.identity
        assert stored(again) == stored(without_expired(part, DAY + 7))


def test_rows_of_the_same_days_are_one_group() -> None:
    assert day_groups(mixed(range(DAY, DAY + MAX_DAYS))) == [DAY // MAX_DAYS]
    assert day_groups(make_frame(FrameRows())) == []
    first_and_last = make_frame(FrameRows(counters=[("a", {}, 0, 1.0), ("a", {}, 9 * GROUP_S, 1.0)]))
    assert day_groups(first_and_last) == [0, 9]


def test_expired_rows_go() -> None:
    whole = unit(mixed(range(DAY, DAY + 10)))
    assert expired_rows(whole.frame, DAY) == 0
    assert expired_rows(whole.frame, DAY + 3) == 3 * len(KINDS)
    rest = without_expired(whole, DAY + 3)
    assert rest.frame.rows == 7 * len(KINDS)
    assert min(day for _, day in rest.partitions) == DAY + 3
    assert without_expired(whole, DAY + 99).frame.rows == 0


def test_given_ids_stay_with_their_strings() -> None:
    frame = make_frame(FrameRows(counters=[("", {"a": "b"}, 0, 1.0), ("x", {"a": "c"}, GROUP_S, 2.0)]))
    given: Mapping[int, int] = {frame.strings.index(""): 77, frame.strings.index("c"): 88}
    whole = replace(unit(frame), given_ids=given)
    parts = [of_group(whole, group, last=False) for group in (0, 1)]
    assert [set(part.given_ids.values()) for part in parts] == [{77}, {88}]
    assert stored(*parts) == stored(whole)


@pytest.mark.parametrize(("given", "kept"), [(0, 0), (1, 1), (8, 30), (30, 30), (31, 0), (65_535, 0)])
def test_retention_is_rounded_up_to_a_step(given: int, kept: int) -> None:
    rules = RetentionRules(Retention(), (1, 30))
    assert rules.rounded(given) == kept


def test_the_default_steps_keep_what_the_seed_sends() -> None:
    assert RetentionRules(Retention(), Limits().retention_steps).rounded(90) == 90


def test_the_first_day_that_is_kept() -> None:
    rules = RetentionRules(Retention(days_1d=400), (30, 730))
    today_ms = DAY * DAY_S * 1000
    assert rules.first_day(0, today_ms, today_ms) == DAY - 400
    assert rules.first_day(30, today_ms, today_ms) == DAY - 30
    assert rules.first_day(730, today_ms, today_ms) == DAY - 400
    assert rules.first_day(30, today_ms - 3 * DAY_S * 1000, today_ms) == DAY - 33  # as at its first attempt
    assert rules.first_day(30, 0, today_ms) == DAY - 44
    assert rules.first_day(30, 2 * today_ms, today_ms) == DAY - 30


@pytest.mark.parametrize("steps", [(), (0,), (7, 1), (7, 7), tuple(range(1, 18)), (65_536,)])
def test_steps_that_are_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="steps"):
        Limits(retention_steps=steps)


def test_partitions_are_days_by_retention() -> None:
    frame = counter_frame({"a": 1.0}, DAY * DAY_S)
    kept = msgspec.structs.replace(frame, retention_days=7)
    assert unit(frame).partitions | unit(kept).partitions == {(0, DAY), (7, DAY)}
