"""Series beyond the limit: which they are, and that their rows keep the totals of their metric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent.wire.frame import Frame, decode
from indexer.clickhouse.schema.metric_types import KINDS
from indexer.intern.series import Project, SeriesRegistry
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.frame_to_columns import DAY_S, FrameRows, to_rows
from indexer.write.series_limit import SeriesLimit, fold_excess
from tests.support.frames import FrameRows as Rows
from tests.support.frames import counter_frame, make_frame, unit

DAY = 20_000
AT = DAY * DAY_S


def resolved(one: AcceptedFrame) -> FrameRows:
    ids = np.array([hash(s) & (1 << 62) - 1 for s in one.frame.strings], np.uint64)
    return to_rows(one.frame, one.with_given(ids))


def fold(limit: SeriesLimit, *units: AcceptedFrame) -> list[tuple[AcceptedFrame, int]]:
    excess = limit.excess([resolved(one) for one in units])
    return [fold_excess(one, beyond) for one, beyond in zip(units, excess, strict=True)]


def register(registry: SeriesRegistry, one: AcceptedFrame) -> None:
    rows = resolved(one)
    for kind in KINDS:
        for sighting in rows.sightings(kind):
            tenant = Project(rows.series.org_id, rows.series.project_id)
            metric_ids = rows.series.metric_id[sighting.index]
            registry.register(tenant, sighting.day, sighting.series_id, metric_ids)


def tags(frame: Frame) -> list[dict[str, str]]:
    """Return the tags of each counter row's series."""
    counts = np.frombuffer(frame.series.tag_count, "<u2")
    ends = np.cumsum(counts, dtype=np.int64)
    keys, values = (np.frombuffer(c, "<u4") for c in (frame.series.tag_key, frame.series.tag_value))
    return [
        {frame.strings[keys[i]]: frame.strings[values[i]] for i in range(ends[s] - counts[s], ends[s])}
        for s in np.frombuffer(frame.counters.series, "<u4")
    ]


def test_the_first_series_are_taken_and_the_others_fold() -> None:
    limit = SeriesLimit(SeriesRegistry(100), 2)
    one = unit(counter_frame({f"h{i}": float(i) for i in range(5)}, AT))
    assert limit.near([one])
    ((changed, rows),) = fold(limit, one)
    assert rows == 3
    assert tags(changed.frame) == [{"host": "h0"}, {"host": "h1"}, *[{"__overflow__": "true"}] * 3]
    assert changed.frame.counters.value == one.frame.counters.value
    assert decode(changed.body) == changed.frame
    assert "h4" not in changed.frame.strings
    assert (changed.identity, changed.digest) == (one.identity, one.digest)


def test_known_series_are_no_new_ones_and_units_of_a_batch_share_the_room() -> None:
    registry = SeriesRegistry(100)
    limit = SeriesLimit(registry, 3)
    known = unit(counter_frame({"a": 1.0, "b": 1.0}, AT))
    register(registry, known)
    batch = [unit(counter_frame({"a": 1.0, "c": 2.0}, AT)), unit(counter_frame({"c": 3.0, "d": 4.0}, AT))]
    (first, none), (second, one) = fold(limit, *batch)
    assert (none, one) == (0, 1)
    assert first is batch[0]
    assert tags(second.frame) == [{"host": "c"}, {"__overflow__": "true"}]


def test_orgs_and_days_have_room_of_their_own_and_projects_share() -> None:
    registry = SeriesRegistry(100)
    limit = SeriesLimit(registry, 1)
    register(registry, unit(counter_frame({"a": 1.0}, AT)))
    frames = [
        counter_frame({"b": 1.0}, AT, org_id=2),
        counter_frame({"b": 1.0}, AT + DAY_S),
        counter_frame({"b": 1.0}, AT, project_id=2),
    ]
    assert [rows for _, rows in fold(limit, *map(unit, frames))] == [0, 0, 1]


def test_all_kinds_fold_with_their_rows_unchanged() -> None:
    rows = Rows(
        counters=[("hits", {"h": f"{i}"}, AT, i + 0.5) for i in range(3)],
        gauges=[("depth", {"h": f"{i}"}, AT, (AT * 1000 + i, i, 0, i, i, 3)) for i in range(3)],
        distributions=[("took", {"h": f"{i}"}, AT, [0.1, 2.0, -1.0, 0.0]) for i in range(3)],
        sets=[("users", {"h": f"{i}"}, AT, [i, 100]) for i in range(3)],
    )
    one = unit(make_frame(rows))
    register(registry := SeriesRegistry(100), unit(counter_frame({"x": 1.0}, AT)))
    ((changed, count),) = fold(SeriesLimit(registry, 1), one)
    assert count == 12
    assert len(changed.frame.series.name) // 4 == 4  # one of each metric
    for kind in KINDS:
        before, after = getattr(one.frame, kind), getattr(changed.frame, kind)
        names = set(before.__struct_fields__) - {"series"}
        assert {n: getattr(before, n) for n in names} == {n: getattr(after, n) for n in names}


def test_a_metric_that_came_as_an_id_keeps_it() -> None:
    frame = make_frame(Rows(counters=[("", {"a": "b"}, AT, 1.0), ("", {"a": "c"}, AT, 2.0)]))
    one = replace(unit(frame), given_ids={frame.strings.index(""): 77})
    ((changed, rows),) = fold(SeriesLimit(SeriesRegistry(100), 1), one)
    assert rows == 1
    assert list(changed.given_ids.values()) == [77]
    block = resolved(changed).blocks["counters"]
    assert block["metric_id"].tolist() == [77, 77]  # type: ignore[union-attr]


@pytest.mark.parametrize("max_series", [0, 100])
def test_far_from_the_limit_no_series_is_looked_at(max_series: int) -> None:
    limit = SeriesLimit(SeriesRegistry(100), max_series)
    assert not limit.near([unit(counter_frame({"a": 1.0, "b": 1.0}, AT))])


def test_a_registry_that_forgets_counts_what_it_knows() -> None:
    registry = SeriesRegistry(3)
    for day in (DAY, DAY + 1):
        registry.register(Project(1, 1), day, np.array([1, 2], np.uint64), np.array([1], np.uint64))
    assert [registry.count(1, day) for day in (DAY, DAY + 1)] == [0, 2]
    registry.register(Project(1, 2), DAY + 1, np.array([2], np.uint64), np.array([1], np.uint64))
    assert registry.count(1, DAY + 1) == 3
