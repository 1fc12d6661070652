"""Batches of the journal with damaged frames: the wait, the rest that is written, and the kept frames."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.store import StoreError
from indexer.deletion.unsettled_batches import UnsettledBatch, unsettled_batches, unsettled_text
from indexer.metrics import Metrics
from indexer.receive.set_aside_http import shown_of
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.damaged_batches import AWAITED_S, DamagedBatches
from indexer.write.health import Health, Part
from indexer.write.identity import frame_identity, org_of
from indexer.write.journal import BatchState, DamagedFramesError, Journal
from indexer.write.set_aside_batches import SetAsideBatches
from tests.support.damaged_journal import damage_frame
from tests.support.frames import counter_frame, unit

AT_MS = 1_700_000_000_000


def of(org_id: int, sequence: int) -> AcceptedFrame:
    frame = counter_frame({"a": float(sequence)}, 0, sequence=sequence, org_id=org_id)
    return replace(unit(frame), identity=frame_identity(frame, 0), digest=b"d" * 16, kept=Retention())


FIRST, SECOND, THIRD = of(1, 1), of(2, 2), of(3, 3)


@dataclass
class World:
    """A journal whose open batch "t" has three frames, of as many orgs; the second one is damaged."""

    path: Path
    journal: Journal
    damaged: DamagedBatches
    health: Health
    metrics: Metrics
    stored: set[str]
    now_s: float = 0.0
    stored_of: Callable[[Collection[str]], Collection[str]] = lambda _: ()

    def error(self, token: str = "t") -> DamagedFramesError:
        with pytest.raises(DamagedFramesError) as raised:
            self.journal.units(token)
        return raised.value

    def rest(self, *, asked: bool = False) -> list[AcceptedFrame]:
        return self.damaged.rest("t", self.error(), AT_MS, asked=asked)

    def kept(self) -> list[tuple[BatchState, int]]:
        return [(kept.state, kept.frames) for kept in self.journal.kept()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    path = tmp_path / "j.sqlite"

    def opened() -> Journal:
        return Journal(path, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)

    journal = opened()
    journal.begin("t", [FIRST, SECOND, THIRD], AT_MS)
    journal.close()
    damage_frame(path, SECOND.identity)
    journal, metrics, health, stored = opened(), Metrics(), Health(), set[str]()
    damaged = DamagedBatches(journal, lambda of: it.stored_of(of), metrics, health, lambda: it.now_s)
    it = World(path, journal, damaged, health, metrics, stored)
    it.stored_of = lambda _: stored
    yield it
    it.journal.close()


def test_it_is_set_aside_and_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.journal.begin("whole", [of(1, 9)], AT_MS)
    assert [token for token, _ in world.damaged.unfinished(AT_MS)] == ["whole"]
    assert world.kept() == [(BatchState.ASIDE, 3)]
    assert "meterhouse set-aside" in world.health.problems()[Part.BATCHES]
    assert "event=batch_damaged token=t frames=1 readable=2" in caplog.text
    counted = world.metrics.registry.get_sample_value(
        "meterhouse_indexer_frames_total", {"outcome": "damaged"}
    )
    assert counted == 1
    document = shown_of(world.error())["frames"]
    assert [one["identity"] for one in document] == [FIRST.identity, THIRD.identity, SECOND.identity]


def test_the_frame_comes_again_and_the_batch_is_as_it_was(world: World) -> None:
    """Settings may have changed its retention meanwhile; the decision in the journal stays."""
    world.damaged.unfinished(AT_MS)
    assert world.rest() == []
    assert not world.damaged.mend(FIRST, BatchState.ASIDE)
    assert not world.damaged.mend(replace(SECOND, body=THIRD.body), BatchState.ASIDE)
    again = replace(SECOND, kept=Retention(days_10s=1), hop=1)
    assert world.damaged.mend(again, BatchState.ASIDE)
    assert world.journal.units("t") == [FIRST, SECOND, THIRD]


def test_the_others_are_written_without_it_after_a_while(world: World) -> None:
    """Its bytes are kept when they come, for a person who may try it in spite of the risk."""
    world.damaged.unfinished(AT_MS)
    assert world.rest() == []
    world.now_s += AWAITED_S
    assert world.rest() == [FIRST, THIRD] == world.journal.units("t")
    assert world.kept() == [(BatchState.ASIDE, 2), (BatchState.TOO_OLD, 1)]
    assert world.journal.state(SECOND.identity) is BatchState.TOO_OLD
    later = DamagedBatches(world.journal, lambda _: (), world.metrics, world.health)
    assert later.mend(SECOND, BatchState.TOO_OLD)
    kept = world.journal.kept()[1]
    assert world.journal.units(kept.token) == [SECOND]
    assert sum(one.bytes for one in world.journal.kept()) == sum(
        len(one.body) for one in (FIRST, SECOND, THIRD)
    )


@pytest.mark.parametrize("late_s", [0.0, AWAITED_S])
@pytest.mark.parametrize("during_the_look", [False, True])
def test_a_frame_that_comes_while_the_rest_is_decided(
    world: World, late_s: float, during_the_look: bool
) -> None:
    """Requests mend frames in another thread: such a frame is of the batch again, or would be lost."""
    world.damaged.unfinished(AT_MS)
    error = world.error()
    world.now_s += late_s

    def mend(*_: object) -> set[str]:
        assert world.damaged.mend(SECOND, BatchState.ASIDE)
        return set()

    if during_the_look:
        world.stored_of = mend
    else:
        mend()
    assert world.damaged.rest("t", error, AT_MS, asked=False) == [FIRST, SECOND, THIRD]
    assert world.kept() == [(BatchState.ASIDE, 3)]


def test_a_batch_of_damaged_frames_that_are_stored_is_over(world: World) -> None:
    world.journal.note_parts("t", ["counter/0"], half=False)
    for one in (FIRST, THIRD):
        damage_frame(world.path, one.identity)
    world.damaged.unfinished(AT_MS)
    world.stored |= {FIRST.identity, SECOND.identity, THIRD.identity}
    assert world.rest() == []
    assert world.kept() == []
    assert world.journal.oldest_waiting_ms() is None
    assert world.journal.stored_parts("t") == set()


def test_a_retry_of_a_batch_tells_whether_it_is_over(world: World) -> None:
    """It asks ClickHouse first: a batch that is stored need not be dropped."""

    async def here(call: Callable[..., Any], *args: object) -> Any:
        return call(*args)

    async def attempt(token: str, units: Sequence[AcceptedFrame]) -> None:
        raise AssertionError((token, units))

    aside = SetAsideBatches(world.journal, here, attempt, lambda: AT_MS, world.damaged, world.metrics.mistake)
    for one in (FIRST, THIRD):
        damage_frame(world.path, one.identity)
    world.damaged.unfinished(AT_MS)
    failed = asyncio.run(aside.retry("t"))
    assert failed is not None
    assert failed.fault is Fault.DAMAGED
    world.stored |= {FIRST.identity, SECOND.identity, THIRD.identity}
    assert asyncio.run(aside.retry("t")) is None
    assert world.kept() == []


def test_a_batch_that_waits_is_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Not in each round: there may be thousands."""

    async def here(call: Callable[..., Any], *args: object) -> Any:
        return call(*args)

    async def attempt(token: str, units: Sequence[AcceptedFrame]) -> None:
        raise AssertionError((token, units))

    other = of(1, 9)
    world.journal.begin("other", [other], AT_MS)
    damage_frame(world.path, other.identity)
    world.damaged.unfinished(AT_MS)
    aside = SetAsideBatches(world.journal, here, attempt, lambda: AT_MS, world.damaged, world.metrics.mistake)
    for _ in range(3):
        assert asyncio.run(aside._round()) is False
    counts = {event: caplog.text.count(f"event={event} ") for event in ("batch_damaged", "batches_problem")}
    assert (counts, "aside_not_read" in caplog.text) == ({"batch_damaged": 2, "batches_problem": 1}, False)


def test_a_person_need_not_wait(world: World) -> None:
    world.damaged.unfinished(AT_MS)
    assert world.rest(asked=True) == [FIRST, THIRD]


def test_a_batch_of_damaged_frames_alone(world: World) -> None:
    for one in (FIRST, THIRD):
        damage_frame(world.path, one.identity)
    world.damaged.unfinished(AT_MS)
    world.now_s += 1
    assert world.rest() == []
    world.now_s += AWAITED_S
    assert world.rest() == []
    assert world.kept() == [(BatchState.TOO_OLD, 3)]


def test_clickhouse_knows_it_as_stored(world: World) -> None:
    world.damaged.unfinished(AT_MS)
    world.stored |= {FIRST.identity, SECOND.identity}
    assert world.rest() == [FIRST, THIRD]
    assert world.journal.state(SECOND.identity) is BatchState.DONE
    assert world.kept() == [(BatchState.ASIDE, 2)]


@pytest.mark.parametrize("column", ["body", "given_ids", "digest", "kept", "identity"])
def test_each_value_can_be_mended(tmp_path: Path, column: str) -> None:
    """A damaged identity is another frame, which never comes."""
    path = tmp_path / "j.sqlite"
    journal = Journal(path, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)
    journal.begin("t", [replace(SECOND, given_ids={0: 7})], AT_MS)
    if column == "identity":
        with journal.transaction() as db:
            db.execute("UPDATE frame SET identity = 'x'")
    else:
        damage_frame(path, SECOND.identity, column)
    damaged = DamagedBatches(journal, lambda _: (), Metrics(), Health())
    assert damaged.unfinished(AT_MS) == []
    mended = damaged.mend(replace(SECOND, given_ids={0: 7}), BatchState.ASIDE)
    assert mended == (column != "identity")
    if mended:
        assert journal.units("t") == [replace(SECOND, given_ids={0: 7})]
    journal.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("identity", "CAST(x'ff' AS TEXT)"),
        ("body", "CAST(x'ff' AS TEXT)"),
        ("body", "NULL"),
        ("digest", "CAST(x'ff' AS TEXT)"),
        ("retention_days", "CAST(x'ff' AS TEXT)"),
        ("kept", "3"),
        ("hop", "9223372036854775807"),
        ("sum", "CAST(x'ff' AS TEXT)"),
    ],
)
def test_values_that_are_no_text_or_of_another_type(world: World, column: str, value: str) -> None:
    """The batch is set aside, and its other frames are written without this one; the next batch is whole."""
    with world.journal.transaction() as db:
        db.execute("DROP TRIGGER frame_changed")
        db.execute(f"UPDATE frame SET {column} = {value} WHERE identity = ?", (SECOND.identity,))
    world.journal.begin("whole", [of(1, 9)], AT_MS)
    assert [token for token, _ in world.damaged.unfinished(AT_MS)] == ["whole"]
    assert world.rest(asked=True) == [FIRST, THIRD]
    world.journal.finish("t", AT_MS)
    assert world.journal.tokens(BatchState.ASIDE) == []


def test_a_deletion_of_which_orgs_waits(world: World) -> None:
    """The identity of a damaged frame tells its org; without it any org's deletion waits, and is told how."""
    world.damaged.unfinished(AT_MS)
    batch = UnsettledBatch("t", damaged=True)
    assert [unsettled_batches(world.journal, org) for org in (1, 2, 3, 4)] == [[batch], [batch], [batch], []]
    text = unsettled_text(2, [batch])
    for command in ("list", "show t", "drop t"):
        assert f"meterhouse set-aside {command}" in text
    with world.journal.transaction() as db:
        db.execute("UPDATE frame SET identity = 'host/1/2' WHERE identity = ?", (SECOND.identity,))
    hiding = batch._replace(hides=True)
    assert unsettled_batches(world.journal, 4) == unsettled_batches(world.journal, 4, shared=True) == [hiding]
    assert "hides the orgs" in unsettled_text(4, [hiding])
    assert world.journal.drop("t", AT_MS)
    assert unsettled_batches(world.journal, 4) == []


@pytest.mark.parametrize(
    ("identity", "org"),
    [
        (FIRST.identity, 1),
        ("12:3/host/a/5/6/days-7", 12),
        ("messages/4:5/key/1/2", 4),
        ("host/1/2", None),
        ("up/127.0.0.1:8126/1/2", None),
        ("1:2/5/6", None),
    ],
)
def test_the_org_of_an_identity(identity: str, org: int | None) -> None:
    assert org_of(identity) == org


def test_an_open_batch_that_is_set_aside_may_be_stored_in_part(world: World) -> None:
    """So it is kept for a person once its token may be forgotten."""
    with pytest.raises(DamagedFramesError) as raised:
        world.journal.units("t", (BatchState.OPEN,))
    world.damaged.set_aside("t", raised.value, AT_MS)
    with world.journal.reading() as db:
        assert db.execute("SELECT half_at NOT NULL FROM batch").fetchone() == (1,)


def test_frames_that_cannot_be_looked_up_are_not_taken_as_stored(world: World) -> None:
    def away(_: Collection[str]) -> Collection[str]:
        raise StoreError("away", retryable=True)

    world.stored_of = away
    world.damaged.unfinished(AT_MS)
    assert world.rest() == []
    assert world.journal.state(SECOND.identity) is BatchState.ASIDE
    world.now_s += AWAITED_S
    assert world.rest() == [FIRST, THIRD]
    assert world.journal.state(SECOND.identity) is BatchState.TOO_OLD
