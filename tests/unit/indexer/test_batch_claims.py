"""Which frames are a batch, and which leave it, where several indexers write."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from agent.wire.frame import FrameError
from agent.wire.release import Release, release_of
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_claims import GO, MAX_CLAIMED, BatchClaims, SettlingError, WaitsError, divided
from indexer.write.batch_state import BatchState
from indexer.write.frame_claims import FrameClaims, Verdict
from indexer.write.identity import OF_KEYLESS
from indexer.write.journal import Journal, JournalError
from indexer.write.stored_identities import bit_of
from tests.support.bit_table import MemoryBits
from tests.support.frames import counter_frame, unit

FIRST, SECOND = (unit(counter_frame({"a": 1.0}, 0, sequence=n)) for n in (1, 2))


def journal_at(path: Path, max_aside_bytes: int = 1 << 20) -> Journal:
    return Journal(path, max_identities=10, max_age_ms=10**9, max_aside_bytes=max_aside_bytes)


def test_released_frames_and_messages_with_a_key_are_batches_of_their_own() -> None:
    keyed = replace(FIRST, identity="messages/1:1/stream/x/1-0/2-0/1")
    keyless = replace(FIRST, identity=f"messages/1:1/{OF_KEYLESS}0123/1")
    batches = divided([FIRST, keyed, replace(SECOND, hop=1), SECOND, keyless])
    assert [units for _, units in batches] == [
        [FIRST, SECOND, keyless],
        [keyed],
        [replace(SECOND, hop=1)],
    ]
    assert batches[1][0] == keyed.identity, "ClickHouse knows it at any indexer"


def test_a_chunk_of_a_backfill_may_go_to_any_indexer(tmp_path: Path) -> None:
    table, journal = MemoryBits(), journal_at(tmp_path / "journal.sqlite")
    chunk = replace(FIRST, identity="1:1/backfill/0123/1/7")
    assert divided([SECOND, chunk])[1] == (chunk.identity, [chunk])
    claims = BatchClaims(FrameClaims(table), journal)
    assert claims.acceptable([chunk]) == ([chunk], {})
    place = bit_of(chunk.identity)
    table.write("t", {(place.source, place.block): 1 << place.bit})
    assert claims.acceptable([chunk, FIRST]) == ([FIRST], {chunk.identity: None})
    journal.close()


def test_a_frame_that_another_indexer_claimed_leaves_the_batch(tmp_path: Path) -> None:
    table, journal = MemoryBits(), journal_at(tmp_path / "journal.sqlite")
    FrameClaims(table).announce("other", [replace(FIRST, hop=1)])
    claims = BatchClaims(FrameClaims(table), journal)
    journal.begin("t", [FIRST, SECOND], 1)
    left, answers, *_ = claims.decide("t", [FIRST, SECOND], 2)
    assert left == [SECOND]
    assert set(answers) == {FIRST.identity}
    assert journal.find(FIRST.identity) is None
    assert [u.identity for _, units in journal.unfinished() for u in units] == [SECOND.identity]
    assert GO in journal.stored_parts("t")
    journal.close()


def test_a_released_frame_waits_for_the_journal_that_may_have_it(tmp_path: Path) -> None:
    """Until that one withdraws, stores it, or is declared lost; its hop survives in the journal."""
    table, journal = MemoryBits(), journal_at(tmp_path / "journal.sqlite")
    FrameClaims(table).announce("other", [FIRST])
    released = replace(FIRST, hop=1)
    claims = BatchClaims(FrameClaims(table), journal)
    assert claims.acceptable([released, SECOND])[0] == [SECOND]
    journal.begin("t", [released], 1)
    with pytest.raises(WaitsError):
        claims.decide("t", [released], 2)
    journal.note_lost_hops(released.identity, 0b1)
    ((_, units),) = journal.unfinished()
    assert (units[0].hop, units[0].lost_hops) == (1, 0b1)
    assert claims.decide("t", units, 3).units == units
    journal.close()


def test_a_released_batch_settles_and_no_thread_waits(tmp_path: Path) -> None:
    """Between its claim and the look at those of others; a batch that was never sent elsewhere does not."""
    journal, now_s = journal_at(tmp_path / "journal.sqlite"), [100.0]
    claims = BatchClaims(FrameClaims(MemoryBits()), journal, settle_s=5.0, clock_s=lambda: now_s[0])
    released = replace(FIRST, hop=1)
    journal.begin("t", [released], 1)
    for at_s, rest_s in [(100.0, 5.0), (104.0, 1.0)]:
        now_s[0] = at_s
        with pytest.raises(SettlingError) as raised:
            claims.decide("t", [released], 1)
        assert raised.value.rest_s == rest_s
        assert GO not in journal.stored_parts("t")
    now_s[0] = 105.0
    assert claims.decide("t", [released], 1).units == [released]
    journal.begin("u", [SECOND], 1)
    assert claims.decide("u", [SECOND], 1).units == [SECOND]
    journal.close()


def test_an_undecided_frame_holds_no_other_up(tmp_path: Path) -> None:
    """It becomes a set-aside batch of its own, and its claim is the same at every later try."""
    table, journal = MemoryBits(), journal_at(tmp_path / "journal.sqlite")
    first, second = replace(FIRST, hop=1), replace(SECOND, hop=1)
    claims = BatchClaims(FrameClaims(table), journal)
    journal.begin("t", [first, second], 1)
    FrameClaims(table).announce("other", [FIRST])
    left, answers, aside, roomless = claims.decide("t", [first, second], 2)
    assert (left, list(answers), aside, roomless) == ([second], [FIRST.identity], 1, None)
    assert [units for _, units in journal.unfinished()] == [[second]]
    ((token, waiting),) = journal.unfinished(BatchState.ASIDE)
    assert waiting == [first]
    (kept,) = journal.kept()
    assert (kept.token, kept.frames, kept.bytes) == (token, 1, len(FIRST.body))
    with pytest.raises(WaitsError):
        claims.decide(token, waiting, 3)
    FrameClaims(table).verdicts("other", [FIRST])  # it looks again: b's claim makes it withdraw
    assert claims.decide(token, waiting, 4).units == [first]
    journal.close()


def test_an_undecided_frame_without_room_is_an_open_batch(tmp_path: Path) -> None:
    table, journal = MemoryBits(), journal_at(tmp_path / "journal.sqlite", max_aside_bytes=0)
    first, second = replace(FIRST, hop=1), replace(SECOND, hop=1)
    claims = BatchClaims(FrameClaims(table), journal)
    journal.begin("t", [first, second], 1)
    FrameClaims(table).announce("other", [FIRST])
    left, answers, aside, roomless = claims.decide("t", [first, second], 2)
    assert (left, list(answers), aside) == ([second], [FIRST.identity], 0)
    assert roomless is not None
    assert dict(journal.unfinished()) == {"t": [second], roomless[0]: [first]}
    assert roomless[1] == [first]
    journal.close()


def test_claims_of_dropped_batches_are_forgotten(tmp_path: Path) -> None:
    """Those that are set aside, or not settled yet, are not: else they would never be decided."""
    journal, now_s, table = journal_at(tmp_path / "journal.sqlite"), [0.0], MemoryBits()
    claims = BatchClaims(FrameClaims(table), journal, settle_s=5.0, clock_s=lambda: now_s[0])
    frames = [unit(counter_frame({"a": 1.0}, 0, sequence=n)) for n in range(MAX_CLAIMED + 1)]
    FrameClaims(table).announce("other", frames)
    released = [replace(frame, hop=1) for frame in frames]
    aside, *dropped, last = released
    journal.begin("aside", [aside], 1)
    assert journal.set_aside("aside", 1)

    def begin(token: str, frame: AcceptedFrame) -> None:
        with pytest.raises(SettlingError):
            claims.decide(token, [frame], 2)

    begin("aside", aside)
    for frame in dropped:
        begin(frame.identity, frame)
    assert len(claims._claimed_s) == MAX_CLAIMED
    now_s[0] = 10.0
    begin("last", last)
    assert claims._claimed_s.keys() == {"aside", "last"}
    with pytest.raises(WaitsError, match=Verdict.UNDECIDED.value):
        claims.decide("aside", [aside], 3)
    journal.close()


def test_a_batch_that_the_journal_cannot_note_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a frame would be in this batch, which is tried again, and in the set-aside one."""
    table, journal = MemoryBits(), journal_at(tmp_path / "journal.sqlite")
    first, second = replace(FIRST, hop=1), replace(SECOND, hop=1)
    claims = BatchClaims(FrameClaims(table), journal)
    journal.begin("t", [first, second], 1)
    FrameClaims(table).announce("other", [FIRST])

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("indexer.write.journal_rows.note_parts", full)
        with pytest.raises(JournalError):
            claims.decide("t", [first, second], 2)
    assert journal.unfinished(BatchState.ASIDE) == []
    assert claims.decide("t", [first, second], 3).units == [second]
    journal.close()


def test_the_journal_has_a_name_and_numbers_its_batches(tmp_path: Path) -> None:
    journal = journal_at(tmp_path / "journal.sqlite")
    assert journal.highest_batch() == 0
    journal.begin("t", [FIRST], 1)
    name = journal.batch_of("t")
    assert name == (journal.name, 1)
    journal.close()
    again = journal_at(tmp_path / "journal.sqlite")
    assert (again.batch_of("t"), again.highest_batch()) == (name, 1)
    again.close()
    other = journal_at(tmp_path / "other.sqlite")
    assert other.name != name[0]
    other.close()


@pytest.mark.parametrize("release", [Release(), Release(1), Release(3, 0b101), Release(9, 0b1_1111_1111)])
def test_headers_of_a_release(release: Release) -> None:
    assert release_of(release.headers()) == release


def test_the_journal_of_one_hop_may_be_lost() -> None:
    """Older indexers hear of lost journals only if all are: they distrust none without need."""
    headers = Release(3, 0b101).headers()
    assert (headers["Meterhouse-Lost-Hops"], "Meterhouse-Journal-Lost" in headers) == ("0,2", False)
    assert Release(2, 0b11).headers()["Meterhouse-Journal-Lost"] == "1"
    assert release_of({"Meterhouse-Hop": "2", "Meterhouse-Journal-Lost": "1"}) == Release(2, 0b11)
    assert release_of({"Meterhouse-Hop": "1", "Meterhouse-Lost-Hops": "0, 5"}) == Release(1, 0b1)
    with pytest.raises(FrameError, match="Meterhouse-Lost-Hops: '1;2': expected a number from 0 to 9"):
        release_of({"Meterhouse-Hop": "1", "Meterhouse-Lost-Hops": "1;2"})


def test_a_frame_waits_for_the_journals_that_are_not_lost() -> None:
    table = MemoryBits()
    claims = FrameClaims(table)
    for hop in (0, 1):
        claims.announce(f"t{hop}", [replace(FIRST, hop=hop)])
    waits = {FIRST.identity: Verdict.UNDECIDED}
    assert [claims.look([replace(FIRST, hop=2, lost_hops=lost)]) for lost in (0, 0b01, 0b10)] == [waits] * 3
    assert claims.look([replace(FIRST, hop=2, lost_hops=0b11)]) == {}


def test_an_older_journal_says_that_all_are_lost(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = journal_at(path)
    journal.begin("t", [replace(FIRST, hop=2, lost_hops=0b11), SECOND], 1)
    journal.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT journal_lost FROM frame ORDER BY position").fetchall() == [(1,), (0,)]
        db.execute("ALTER TABLE frame DROP COLUMN lost_hops")
    db.close()
    again = journal_at(path)
    ((_, units),) = again.unfinished()
    assert [unit.lost_hops for unit in units] == [0b11, 0]
    again.close()


@pytest.mark.parametrize("hop", ["", "10", "-1", "x", "²"])
def test_a_hop_that_is_none(hop: str) -> None:
    with pytest.raises(FrameError, match="expected a number from 0 to 9"):
        release_of({"Meterhouse-Hop": hop})


def test_all_earlier_hops_have_to_withdraw() -> None:
    bits = MemoryBits()
    for hop in (0, 1):
        FrameClaims(bits).announce(f"t{hop}", [replace(FIRST, hop=hop)])
    latest = replace(FIRST, hop=2)
    FrameClaims(bits).announce("t2", [latest])
    assert FrameClaims(bits).verdicts("t2", [latest]) == {FIRST.identity: Verdict.UNDECIDED}
    for hop in (0, 1):
        gone = FrameClaims(bits).verdicts(f"t{hop}", [replace(FIRST, hop=hop)])
        assert gone == {FIRST.identity: Verdict.ELSEWHERE}
        left = FrameClaims(bits).verdicts("t2", [latest])
        assert left == ({} if hop else {FIRST.identity: Verdict.UNDECIDED})


def test_claims_and_withdrawals_have_tokens_of_their_own() -> None:
    """ClickHouse drops the second block of a token."""
    written: list[str] = []

    class Tokens(MemoryBits):
        def write(self, token: str, masks: Mapping[tuple[str, int], int]) -> None:
            written.append(token)
            super().write(token, masks)

    bits = Tokens()
    FrameClaims(bits).announce("t", [FIRST])
    FrameClaims(bits).announce("other", [replace(FIRST, hop=1)])
    FrameClaims(bits).verdicts("t", [FIRST])
    assert len(written) == len(set(written)) == 3
