"""Identities of stored frames as bits of rows: their places, their tokens, and the cache of a look-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from indexer.clickhouse.store import SentTable
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.stored_identities import StoredIdentities, bit_of, identity_of
from tests.support.frames import counter_frame, unit

DAY_MS = 86_400_000


class Rows:
    """The table in memory. `before_answer` runs between a look-up and its answer."""

    def __init__(self) -> None:
        self.written: list[tuple[str | None, dict[str, Any]]] = []
        self.asked = 0
        self.before_answer: Callable[[], None] = lambda: None

    def insert(self, _: str, columns: Mapping[str, Any], *, token: str | None = None) -> None:
        self.written.append((token, {name: list(values) for name, values in columns.items()}))

    def rows(self, _: str, *__: object, sent: Sequence[SentTable]) -> list[tuple[str, int, int]]:
        self.asked += 1
        masks: dict[tuple[str, int], int] = {}
        for _token, of in self.written:
            for source, block, mask in zip(of["source"], of["block"], of["mask"], strict=True):
                masks[source, int(block)] = masks.get((source, int(block)), 0) | int(mask)
        asked: Mapping[str, Any] = sent[0].columns
        wanted = zip(asked["source"], map(int, asked["block"]), strict=True)
        found = [(*key, masks[key]) for key in wanted if key in masks]
        self.before_answer()
        return found


def named(*identities: str) -> list[AcceptedFrame]:
    plain = unit(counter_frame({"a": 1.0}, 0))
    return [replace(plain, identity=one) for one in identities]


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def stored(rows: Rows) -> StoredIdentities:
    return StoredIdentities(rows, 14, lambda: 20_000 * DAY_MS)  # type: ignore[arg-type]


def test_no_two_identities_have_one_place() -> None:
    identities = [
        *("a/1/0", "a/1/63", "a/1/64", "a/1/00", "a/1/01", "a/1/1", "a/1/1/days-0", "a/1/1/days-1"),
        *("a/1/x", "a/1/-1", "1:1/a/1/1", "p0/a/1/1", f"a/1/{10**18 - 1}", f"a/1/{10**18}", "fa/1/1"),
    ]
    assert len({bit_of(one) for one in identities}) == len(identities)
    assert [identity_of(bit_of(one)) for one in identities] == identities


def test_a_batch_has_each_bit_once_and_a_token(stored: StoredIdentities, rows: Rows) -> None:
    stored.add("t", named("a/1/1", "a/1/1", "a/1/3", "messages/1:1/k/1", "up/1"))
    ((token, columns),) = rows.written
    assert token == "t/identities", "a repeated batch adds no row"
    assert (columns["source"], columns["block"], columns["mask"]) == (["fa/1"], [0], [0b1010])
    assert columns["expires"] == [20_000 + 14 + 2], "a whole day is dropped once all of it has expired"


def test_a_batch_of_messages_alone_writes_nothing(stored: StoredIdentities, rows: Rows) -> None:
    stored.add("t", named("messages/1:1/k/1", "up/1"))
    assert rows.written == []


def test_the_number_of_the_batch_goes_with_it_where_others_write(rows: Rows) -> None:
    shared = StoredIdentities(rows, 14, lambda: 0, lambda token: (f"of-{token}", 65))  # type: ignore[arg-type]
    shared.add("t", named("messages/1:1/k/1"))
    ((_, columns),) = rows.written
    assert (columns["source"], columns["block"], columns["mask"]) == (["jof-t"], [1], [0b10])


def test_a_look_up_is_remembered_until_its_row_is_written(stored: StoredIdentities, rows: Rows) -> None:
    assert not stored.has("a/1/1")
    assert not stored.has("a/1/2")
    assert rows.asked == 1
    stored.add("t", named("a/1/1"))
    assert stored.has("a/1/1")
    assert not stored.has("a/1/2")
    assert rows.asked == 2


def test_a_look_up_that_a_write_overtakes_is_not_remembered(stored: StoredIdentities, rows: Rows) -> None:
    """Its answer is of before: the frame would count as new from then on."""

    def write() -> None:
        rows.before_answer = lambda: None
        stored.add("t", named("a/1/1"))

    rows.before_answer = write
    assert not stored.has("a/1/1")
    assert stored.has("a/1/1")
