"""One batch as INSERTs: their order and tokens, and the rows that a repetition leaves out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.native_format import Block
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.store import StoreError
from indexer.intern.cache import open_near_cache
from indexer.intern.id_store import MemoryIdStore
from indexer.intern.series import SeriesRegistry
from indexer.intern.string_indexer import StringIndexer
from indexer.write import inserter as module
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.insert_feed import InsertFeed, InsertFootprint
from indexer.write.inserter import Inserter
from tests.support.frames import FrameRows, make_frame, unit

#: A row of each type.
ROWS = FrameRows(
    counters=[("c", {}, 0, 1.0)],
    gauges=[("g", {}, 0, (1_000, 1.0, 1.0, 1.0, 1.0, 1.0))],
    sets=[("s", {}, 0, [7])],
)


class Steps:
    """A store and its identities, which note all writes. The INSERT into `fails` fails with `fault`."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str | None, int]] = []  # table, token, rows
        self.asked: list[list[str]] = []
        self.known: set[str] = set()
        self.fails, self.fault = "", Fault.BUSY

    def insert(
        self, table: str, columns: Mapping[str, Any], *, token: str | None = None, **_: object
    ) -> None:
        if table == self.fails:
            raise StoreError("failed", retryable=True, fault=self.fault)
        self.done.append((table, token, len(columns["org_id"])))

    def rows(self, *_: object, **__: object) -> list[tuple[Any, ...]]:
        if self.fails == "rows":
            raise StoreError("failed", retryable=True, fault=self.fault)
        return []

    def add(self, token: str, units: Sequence[AcceptedFrame]) -> None:
        self.done.append(("identities", token, len(units)))

    def stored_of(self, identities: Collection[str]) -> set[str]:
        self.asked.append(list(identities))
        return self.known & set(identities)


def frame(sequence: int, rows: FrameRows = ROWS) -> AcceptedFrame:
    return replace(unit(make_frame(rows, sequence=sequence)), kept=Retention())


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def inserter(steps: Steps) -> Inserter:
    strings = StringIndexer(MemoryIdStore(), [open_near_cache(1_000)])
    return Inserter(steps, strings, SeriesRegistry(1_000), identities=steps)  # type: ignore[arg-type]


def test_series_go_before_their_samples_and_identities_after_all(inserter: Inserter, steps: Steps) -> None:
    inserter.insert("t", [frame(1), frame(2)], first=True)
    assert steps.done == [
        ("series", None, 6),
        ("incoming_counters", "t/counters/0", 2),
        ("incoming_gauges", "t/gauges/0", 2),
        ("incoming_sets", "t/sets/0", 2),
        ("identities", "t", 2),
    ]
    assert steps.asked == [], "a new frame is not looked up: that is a statement for each batch"


def test_blocks_of_one_kind_have_tokens_of_their_own(
    inserter: Inserter, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BLOCK_ROWS", 1)
    inserter.insert("t", [frame(1), frame(2)], first=True)
    tokens = [token for _, token, _ in steps.done if token]
    assert len(tokens) == len(set(tokens)) == 7


def test_an_error_names_its_kind_and_what_is_stored(inserter: Inserter, steps: Steps) -> None:
    steps.fails = "incoming_gauges"
    with pytest.raises(StoreError) as raised:
        inserter.insert("t", [frame(1)], first=True)
    assert (raised.value.kind, raised.value.stored) == ("gauges", ("counters/0",))
    steps.fails = "incoming_sets"
    with pytest.raises(StoreError) as raised:
        inserter.insert("t", [frame(1)], stored=["counters/0"])
    assert set(raised.value.stored) == {"counters/0", "gauges/0"}
    assert "identities" not in [table for table, *_ in steps.done]


def test_a_repetition_leaves_out_what_is_stored(inserter: Inserter, steps: Steps) -> None:
    steps.known = {frame(1).identity}
    inserter.insert("t", [frame(1), frame(2)], stored=["counters/0"])
    assert steps.asked == [[frame(1).identity, frame(2).identity]]
    assert [(table, rows) for table, _, rows in steps.done] == [
        ("series", 3),
        ("incoming_gauges", 1),
        ("incoming_sets", 1),
        ("identities", 1),
    ]


def test_series_are_known_once_they_are_written(inserter: Inserter, steps: Steps) -> None:
    steps.fails = "series"
    with pytest.raises(StoreError):
        inserter.insert("t", [frame(1)], first=True)
    assert steps.done == []
    steps.fails = ""
    inserter.insert("t", [frame(1)])
    assert steps.done[0] == ("series", None, 3)
    inserter.insert("u", [frame(2)], first=True)
    assert [table for table, *_ in steps.done].count("series") == 1


def test_a_batch_enters_the_gate_unless_its_caller_did(inserter: Inserter) -> None:
    inside: list[int] = []
    inserter.on_insert = lambda *_: inside.append(sum(inserter.gate._inside.values()))
    inserter.insert("t", [frame(1)], first=True)
    assert inside == [1, 1, 1]
    inserter.insert("u", [frame(2)], first=True, entered=True)
    assert inside == [1, 1, 1, 0, 0, 0]


def test_an_ended_frame_has_no_rows_that_are_stored() -> None:
    rest = module.remaining_kinds(frame(1), "gauges")
    assert (len(rest.frame.counters.bucket), len(rest.frame.gauges.bucket), rest.frame.rows) == (0, 4, 2)
    assert unit(rest.frame).body == rest.body


def test_only_the_bytes_of_a_frame_are_refused(inserter: Inserter, steps: Steps) -> None:
    steps.fails, steps.fault = "rows", Fault.BYTES
    both = [frame(1), frame(2)]
    assert inserter.refused(both, "gauges") == both
    steps.fault = Fault.BUSY
    with pytest.raises(StoreError):
        inserter.refused(both, "gauges")


def test_readers_in_this_process_get_the_rows_of_first_attempts_alone(steps: Steps) -> None:
    """Those of a repetition may be stored already: readers would count them twice."""
    heard: list[bool] = []

    class Reader:
        def insert_started(self, footprint: InsertFootprint) -> None: ...

        def insert_finished(self, footprint: InsertFootprint, block: Block | None) -> None:
            assert footprint.kind
            heard.append(block is not None)

    feed = InsertFeed()
    feed.subscribe(Reader())
    strings = StringIndexer(MemoryIdStore(), [open_near_cache(1_000)])
    inserter = Inserter(steps, strings, SeriesRegistry(1_000), insert_feed=feed)  # type: ignore[arg-type]
    inserter.insert("t", [frame(1)], first=True)
    assert heard == [True] * 3
    inserter.insert("t", [frame(1)])
    assert heard == [True] * 3 + [False] * 3
