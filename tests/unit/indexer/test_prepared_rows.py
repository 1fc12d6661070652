"""Rows that are made while a batch gathers: the same as those made later, and never of another state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.store import StoreError
from indexer.intern.cache import open_near_cache
from indexer.intern.id_store import MemoryIdStore
from indexer.intern.series import SeriesRegistry
from indexer.intern.string_indexer import StringIndexer
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.ahead_of_batch import AheadOfBatch
from indexer.write.health import Health
from indexer.write.inserter import Inserter
from indexer.write.prepared_rows import PreparedRows
from indexer.write.write_gate import WriteGate
from tests.support.frames import FrameRows, make_frame, unit

NOW_S = 20_000 * 86_400


def frame_of(agent: str, **fields: Any) -> AcceptedFrame:
    tags = {"host": agent}
    rows = FrameRows(
        counters=[("hits", tags, NOW_S, 2.0), ("hits", tags, NOW_S + 10, 3.0)],
        gauges=[("load", tags, NOW_S, (NOW_S * 1_000, 1.0, 1.0, 1.0, 1.0, 1.0))],
        distributions=[("took", tags, NOW_S, [1.0, 4.0])],
        sets=[("users", tags, NOW_S, [7, 9])],
    )
    return replace(unit(make_frame(rows, agent=agent, sequence=1, **fields)), kept=Retention())


class Blocks:
    """A store that notes INSERTs."""

    def __init__(self) -> None:
        self.inserted: list[tuple[str, dict[str, Any]]] = []

    def insert(self, table: str, columns: Mapping[str, Any], **_: object) -> None:
        self.inserted.append((table, {k: getattr(v, "values", v) for k, v in columns.items()}))


class Ids(MemoryIdStore):
    """Ids in memory that may be away, and that are lost when the data goes back."""

    away = False

    def create(self, keys: Any) -> Any:
        if self.away:
            raise StoreError("away", retryable=True)
        return super().create(keys)

    def lose(self) -> None:
        self._strings.clear()

    def has(self, string: str) -> bool:
        return string in self._strings.values()


class Writing:
    """An inserter over memory."""

    def __init__(self) -> None:
        self.store, self.ids = Blocks(), Ids()
        self.strings = StringIndexer(self.ids, [open_near_cache(1_000)])
        self.inserter = Inserter(self.store, self.strings, SeriesRegistry(1_000))  # type: ignore[arg-type]


def same(a: Sequence[tuple[str, Mapping[str, Any]]], b: Sequence[tuple[str, Mapping[str, Any]]]) -> bool:
    return [t for t, _ in a] == [t for t, _ in b] and all(
        x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) for k in x)
        for (_, x), (_, y) in zip(a, b, strict=True)
    )


def test_a_batch_has_the_same_blocks_with_rows_made_earlier() -> None:
    units = [frame_of("a"), frame_of("b", project_id=2), frame_of("c")]
    plain, early = Writing(), Writing()
    assert plain.inserter.insert("t", units, first=True) == 15
    early.inserter.prepare([units[2]])
    early.inserter.prepare([units[2], units[0]])
    assert early.inserter.insert("t", units, first=True) == 15
    assert plain.store.inserted[0][0] == "series"
    assert same(early.store.inserted, plain.store.inserted)
    early.inserter.insert("t", units)  # a repeated attempt makes them anew
    assert same(early.store.inserted[5:], plain.store.inserted[1:])


def test_strings_are_recorded_again_if_caches_were_emptied_since() -> None:
    w, one = Writing(), frame_of("a")
    w.inserter.prepare([one])
    assert w.ids.has("hits")
    w.ids.lose()
    w.strings.forget([open_near_cache(1_000)])
    assert not w.ids.has("hits")
    w.inserter.insert("t", [one], first=True)
    assert w.ids.has("hits")


def test_a_frame_of_before_migration_5_is_not_prepared() -> None:
    w, old = Writing(), replace(frame_of("a"), kept=None)
    w.inserter.prepare([old])
    assert not w.ids.has("hits")
    assert w.inserter.insert("t", [old], first=True) == 5


def test_rows_belong_to_one_frame_in_one_generation() -> None:
    rows = Writing().inserter.resolve([frame_of("a")])[0]
    prepared, one, two = PreparedRows(), frame_of("a"), frame_of("b")
    assert prepared.missing([one, two], 3) == [one, two]
    prepared.put(one, rows, 3)
    prepared.put(two, rows, 2)  # its strings were recorded before caches were emptied
    assert prepared.missing([one, two], 3) == [two]
    assert prepared.take(replace(one), 3) is None, "a copy may have other rows: a series limit folds some"
    assert prepared.take(one, 3) is rows
    assert prepared.take(one, 3) is None
    prepared.put(one, rows, 3)
    assert prepared.missing([two], 3) == [two], "frames that wait no longer are forgotten"
    assert len(prepared) == 0
    prepared.put(one, rows, 3)
    assert prepared.take(one, 4) is None


class Pace:
    """Counts looks for other indexers."""

    looks = 0

    def look(self) -> None:
        self.looks += 1


class Prepares:
    """Notes the frames to prepare, and fails with `failure`."""

    failure: Exception | None = None

    def __init__(self) -> None:
        self.gate = WriteGate()
        self.prepared: list[list[AcceptedFrame]] = []

    def prepare(self, units: Sequence[AcceptedFrame]) -> None:
        self.prepared.append(list(units))
        if self.failure is not None:
            raise self.failure


class Ahead:
    def __init__(self, *, on: bool = True) -> None:
        self.inserter, self.pace, self.health = Prepares(), Pace(), Health()

        async def in_thread(call: Any, *args: Any) -> Any:
            return call(*args)

        self.ahead = AheadOfBatch(self.inserter, self.pace, self.health, in_thread, on=on)  # type: ignore[arg-type]

    def prepare(self, units: Sequence[AcceptedFrame], last_ms: int) -> None:
        asyncio.run(self.ahead.prepare(units, last_ms))


def test_frames_are_prepared_once_when_no_further_one_comes() -> None:
    a, one = Ahead(), frame_of("a")
    assert a.ahead.rest_ms(100, 100) == 15
    assert a.ahead.rest_ms(110, 112) == 13
    assert a.ahead.rest_ms(110, 130) == 0
    a.prepare([one], 110)
    assert (a.inserter.prepared, a.pace.looks) == ([[one]], 1)
    assert a.ahead.rest_ms(110, 131) is None
    assert a.ahead.rest_ms(140, 140) == 15
    assert Ahead(on=False).ahead.rest_ms(100, 200) is None


@pytest.mark.parametrize("failure", [StoreError("away", retryable=True), ValueError("a mistake of ours")])
def test_a_failure_is_left_to_the_batch(failure: Exception) -> None:
    a = Ahead()
    a.inserter.failure = failure
    a.prepare([frame_of("a")], 110)
    assert a.ahead.rest_ms(110, 200) is None
    with a.inserter.gate.alone(1, 0.0):
        pass  # nothing is inside
    a.health.store_failed(StoreError("away", retryable=True, fault=Fault.AWAY))
    assert a.ahead.rest_ms(210, 300) is None, "a store that is away is not asked twice"
    a.health.store_works()
    assert a.ahead.rest_ms(210, 300) == 0


def test_frames_of_an_org_with_a_deletion_and_heavy_ones_are_left_out() -> None:
    a, one, other = Ahead(), frame_of("a"), frame_of("b", org_id=2)
    heavy = replace(one, identity="heavy")
    heavy.__dict__["held_bytes"] = 1 << 40
    with a.inserter.gate.alone(2, 0.0):
        a.prepare([one, other, heavy], 110)
    assert a.inserter.prepared == [[one]]
