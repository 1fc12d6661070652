from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from indexer.cli.set_aside import _text
from indexer.receive.set_aside_http import listed
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.journal import BatchState, Journal, JournalError
from indexer.write.journal_rows import VERSION
from indexer.write.split_by_day import max_blocks
from tests.support.frames import FrameRows, counter_frame, make_frame, unit


def make(path: Path, *, identities: int = 1000, age_ms: int = 10**9, aside_bytes: int = 1 << 20) -> Journal:
    return Journal(
        path / "deep" / "journal.sqlite",
        max_identities=identities,
        max_age_ms=age_ms,
        max_aside_bytes=aside_bytes,
    )


def units(count: int) -> list[AcceptedFrame]:
    return [unit(counter_frame({f"h{i}": 1.0}, 0)) for i in range(count)]


def test_a_batch_from_begin_to_finish(tmp_path: Path) -> None:
    journal = make(tmp_path)
    a, b = units(2)
    assert journal.state(a.identity) is None
    journal.begin("t", [a, b], 0)
    assert journal.state(a.identity) is BatchState.OPEN
    assert journal.unfinished() == [("t", [a, b])]
    journal.finish("t", 1)
    assert journal.state(b.identity) is BatchState.DONE
    assert journal.unfinished() == []
    journal.close()


def test_unfinished_batches_outlive_the_process_in_order(tmp_path: Path) -> None:
    journal = make(tmp_path)
    many = [AcceptedFrame(u.identity, u.body, u.frame, {0: 7}) for u in units(6)]
    journal.begin("done", many[:1], 0)
    journal.begin("first", many[1:4], 0)
    journal.begin("second", many[4:], 0)
    journal.finish("done", 1)
    journal.close()
    again = make(tmp_path)
    assert again.unfinished() == [("first", many[1:4]), ("second", many[4:])]
    assert again.state(many[0].identity) is BatchState.DONE
    again.close()


def test_a_frame_is_in_one_batch_only(tmp_path: Path) -> None:
    journal = make(tmp_path)
    a, b = units(2)
    journal.begin("one", [a], 0)
    with pytest.raises(JournalError, match="UNIQUE"):
        journal.begin("two", [b, a], 0)
    assert journal.state(b.identity) is None
    assert [token for token, _ in journal.unfinished()] == ["one"]
    journal.close()


def test_identities_are_bounded_by_number(tmp_path: Path) -> None:
    journal = make(tmp_path, identities=10)
    many = units(50)
    for i, u in enumerate(many):
        journal.begin(str(i), [u], i)
        journal.finish(str(i), i)
        assert journal.counts()[BatchState.DONE] <= 10
    assert journal.state(many[39].identity) is None
    assert journal.state(many[40].identity) is BatchState.DONE
    journal.close()


def test_the_bound_holds_after_a_restart(tmp_path: Path) -> None:
    journal = make(tmp_path)
    for i, u in enumerate(units(20)):
        journal.begin(str(i), [u], i)
        journal.finish(str(i), i)
    journal.close()
    again = make(tmp_path, identities=10)
    (u,) = units(1)
    again.begin("x", [u], 99)
    again.finish("x", 99)
    assert again.counts()[BatchState.DONE] == 10
    again.close()


def test_identities_are_bounded_by_age(tmp_path: Path) -> None:
    journal = make(tmp_path, age_ms=1000)
    a, b = units(2)
    journal.begin("a", [a], 0)
    journal.finish("a", 0)
    journal.begin("b", [b], 2000)
    journal.finish("b", 2000)
    assert journal.state(a.identity) is None
    assert journal.state(b.identity) is BatchState.DONE
    assert journal.complete_since_ms == 1, "frames until then may be forgotten"
    journal.close()


def test_frames_that_came_too_old_count_for_the_bound(tmp_path: Path) -> None:
    journal = make(tmp_path, identities=10)
    many = units(24)
    for i, u in enumerate(many[:4]):
        journal.keep(f"old{i}", u, i, "")
    for i, u in enumerate(many[4:]):
        journal.begin(str(i), [u], i)
        journal.finish(str(i), i)
    assert journal.counts()[BatchState.DONE] == 6
    journal.close()


def test_each_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """In write-ahead mode SQLite leaves that out unless it is told to: a loss of power then loses batches."""
    journal = make(tmp_path)
    with journal.transaction() as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    journal.close()


def test_batches_aside_are_bounded_by_bytes_and_none_is_dropped(tmp_path: Path) -> None:
    """Their senders still wait: a batch that finds no room stays open, and is waited out."""
    many = units(5)
    journal = make(tmp_path, aside_bytes=max(len(u.body) for u in many) * 2)
    aside = []
    for i, u in enumerate(many):
        journal.begin(str(i), [u], i)
        aside.append(journal.set_aside(str(i), i))
    assert aside == [True, True, False, False, False]
    assert [token for token, _ in journal.unfinished(BatchState.ASIDE)] == ["0", "1"]
    assert [token for token, _ in journal.unfinished()] == ["2", "3", "4"]
    assert journal.dropped_ended == 0
    journal.close()


def test_an_ended_frame_leaves_its_batch_and_makes_room_when_needed(tmp_path: Path) -> None:
    a, bad, c = units(3)
    journal = make(tmp_path, aside_bytes=2 * len(a.body) + 10)
    journal.begin("t", [a, bad, c], 5)
    journal.end("t", [bad], 6, "refused")
    assert journal.unfinished() == [("t", [a, c])]
    (kept,) = journal.kept()
    assert (kept.state, kept.frames, kept.bytes, kept.reason) == (
        BatchState.ENDED,
        1,
        len(bad.body),
        "refused",
    )
    assert journal.units(kept.token) == [bad]
    assert journal.state(bad.identity) is BatchState.ENDED
    assert journal.set_aside("t", 7)
    assert [k.token for k in journal.kept()] == ["t"]
    assert journal.state(bad.identity) is BatchState.DROPPED
    assert journal.dropped_ended == 1
    journal.close()


def test_room_is_made_at_once_and_the_list_is_bounded(tmp_path: Path) -> None:
    """A look at all kept batches for each that is dropped, or lists of them all, would hold senders up."""
    *many, last = units(40)
    size = sum(len(u.body) for u in many)
    journal = make(tmp_path, aside_bytes=size)
    journal.begin("t", many, 1)
    journal.end("t", many[:35], 2, "refused")
    assert journal.set_aside("t", 3, "waits")
    assert journal.count_kept() == {BatchState.ENDED: 35, BatchState.ASIDE: 1, BatchState.TOO_OLD: 0}
    shown = journal.kept(3)
    assert [kept.state for kept in shown] == [BatchState.ENDED] * 3, "what only a person ends goes first"
    assert shown == [kept for kept in journal.kept() if kept.state is BatchState.ENDED][:3]
    document = listed(shown, journal.count_kept())
    assert _text("list", document).splitlines()[4:] == ["and 33 later ones"]
    assert [kept.frames for kept in journal.kept() if kept.state is BatchState.ASIDE] == [4]
    big = replace(last, body=b"b" * (size // 2))
    journal.begin("big", [big], 4)
    statements: list[str] = []
    journal._db.set_trace_callback(statements.append)
    assert journal.set_aside("big", 5)
    journal._db.set_trace_callback(None)
    assert sum("sum(bytes)" in one for one in statements) == 2
    assert journal.dropped_ended == 35 - journal.count_kept()[BatchState.ENDED] > 10
    journal.close()


def test_a_dropped_batch_stays_known_and_gives_its_room_back(tmp_path: Path) -> None:
    a, b = units(2)
    journal = make(tmp_path, age_ms=1000)
    journal.begin("t", [a], 0)
    assert not journal.drop("t", 1)
    journal.set_aside("t", 1, "why")
    assert journal.oldest_waiting_ms() == 1
    assert journal.drop("t", 2)
    assert not journal.drop("t", 3)
    assert journal.state(a.identity) is BatchState.DROPPED
    assert (journal.kept(), journal.units("t"), journal.oldest_waiting_ms()) == ([], [], None)
    journal.begin("later", [b], 2000)
    journal.finish("later", 2000)
    assert journal.state(a.identity) is None
    journal.close()


def test_an_ended_frame_can_wait_again(tmp_path: Path) -> None:
    (a,) = units(1)
    journal = make(tmp_path)
    journal.begin("t", [a], 0)
    journal.end("t", [a], 1, "refused")
    (kept,) = journal.kept()
    assert journal.wait_again(kept.token, 2)
    assert not journal.wait_again("nothing", 2)
    assert journal.unfinished(BatchState.ASIDE) == [(kept.token, [a])]
    journal.close()


def test_bodies_are_dropped_when_done(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.begin("t", units(3), 0)
    journal.finish("t", 0)
    journal.close()
    db = sqlite3.connect(tmp_path / "deep" / "journal.sqlite")
    assert db.execute("SELECT count(), count(body) FROM frame").fetchall() == [(3, 0)]
    db.close()


def test_a_file_that_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "deep"
    path.mkdir()
    (path / "journal.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(JournalError, match=r"journal\.sqlite"):
        make(tmp_path)


def test_the_retention_that_was_decided_is_kept_and_old_rows_have_their_own(tmp_path: Path) -> None:
    journal = make(tmp_path)
    sent = unit(counter_frame({"a": 1.0}, 0, retention_days=45))
    rounded = replace(sent, frame=msgspec.structs.replace(sent.frame, retention_days=60))
    journal.begin("t", [rounded], 0)
    assert journal.unfinished() == [("t", [rounded])]
    journal.close()
    with sqlite3.connect(tmp_path / "deep" / "journal.sqlite") as db:
        db.execute("ALTER TABLE frame DROP COLUMN retention_days")  # as files made before are
        db.execute("UPDATE frame SET sum = NULL")
    again = make(tmp_path)
    assert again.unfinished() == [("t", [sent])]
    again.close()


def test_a_frame_that_is_too_old_stays_so_when_its_bytes_are_gone(tmp_path: Path) -> None:
    a, b = units(2)
    journal = make(tmp_path, aside_bytes=len(a.body) + 10)
    journal.keep("old", a, 5, "too old")
    assert journal.state(a.identity) is BatchState.TOO_OLD
    assert journal.units("old") == [a]
    journal.begin("t", [b], 6)
    assert journal.set_aside("t", 7)
    assert journal.state(a.identity) is BatchState.TOO_OLD_GONE
    assert journal.units("old") == []
    journal.close()


def test_stored_parts_are_known_until_their_batch_is_over(tmp_path: Path) -> None:
    journal = make(tmp_path)
    for token, one in zip("ab", units(2), strict=True):
        journal.begin(token, [one], 0)
        journal.note_parts(token, ["counters/0"], half=False)
    journal.note_parts("a", ["counters/0", "gauges/0"], half=True)
    assert journal.stored_parts("a") == {"counters/0", "gauges/0"}
    journal.finish("a", 1)
    journal.set_aside("b", 1)
    assert (journal.stored_parts("a"), journal.stored_parts("b")) == (set(), {"counters/0"})
    journal.drop("b", 2)
    assert journal.stored_parts("b") == set()
    journal.close()


def test_a_batch_stored_in_part_is_kept_for_a_person_once_its_tokens_may_be_forgotten(tmp_path: Path) -> None:
    day = 86_400
    many = [
        unit(make_frame(FrameRows(counters=[("a", {}, 0, 1.0), ("a", {}, 31 * day, 1.0)]), retention_days=n))
        for n in range(1, 1601)
    ]
    assert max_blocks(many) == 1600 * 32
    (half, whole, *_) = units(3)
    journal = make(tmp_path, identities=10_000)
    for token, one in (("half", half), ("whole", whole)):
        journal.begin(token, [one], 0)
        journal.set_aside(token, 1)
    journal.note_parts("half", (), half=True)
    journal.begin("later", many[:800], 2)
    assert journal.keep_overtaken(3) == 0
    journal.note_parts("half", (), half=True)  # it counts from the first time
    journal.begin("more", many[800:], 3)
    assert journal.keep_overtaken(4) == 1
    assert {one.token: one.state for one in journal.kept()} == {
        "half": BatchState.TOO_OLD,
        "whole": BatchState.ASIDE,
    }
    assert journal.wait_again("half", 5)
    assert journal.keep_overtaken(6) == 0, "a person wants it"
    journal.close()


def test_tokens_are_forgotten_sooner_where_other_indexers_write(tmp_path: Path) -> None:
    """Their INSERTs use up ClickHouse's memory of tokens, too."""
    many = [
        unit(
            make_frame(FrameRows(counters=[("a", {}, 0, 1.0), ("a", {}, 31 * 86_400, 1.0)]), retention_days=n)
        )
        for n in range(1, 202)
    ]
    assert 5_000 < max_blocks(many) < 50_000
    for shared in (False, True):
        path = tmp_path / f"{shared}.sqlite"
        journal = Journal(
            path, max_identities=1000, max_age_ms=1 << 40, max_aside_bytes=1 << 20, shared=shared
        )
        journal.begin("half", units(1), 0)
        journal.set_aside("half", 1)
        journal.note_parts("half", (), half=True)
        journal.begin("later", many, 2)
        assert journal.keep_overtaken(3) == shared
        journal.close()


def test_frames_that_leave_a_set_aside_batch_need_no_more_room(tmp_path: Path) -> None:
    """Else an ended batch, which is kept for a person, is dropped for bytes that are there already."""
    ended, one, two = units(3)
    journal = make(tmp_path, aside_bytes=sum(len(u.body) for u in (ended, one, two)))
    journal.begin("refused", [ended], 1)
    journal.end("refused", [ended], 1, "refused")
    journal.begin("t", [one, two], 2)
    assert journal.set_aside("t", 3, "waits")
    assert journal.leave_out("t", [], "go", [two], 4, "waits") == ""
    assert [kept.state for kept in journal.kept()] == [BatchState.ENDED, BatchState.ASIDE, BatchState.ASIDE]
    journal.close()


def test_a_file_of_a_later_version_is_refused_and_not_changed(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.begin("t", units(1), 0)
    journal.close()
    path = tmp_path / "deep" / "journal.sqlite"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
        db.commit()
    before = path.read_bytes()
    with pytest.raises(JournalError, match=f"format {VERSION + 1}, of a later Meterhouse: expected at most"):
        make(tmp_path)
    assert path.read_bytes() == before


def test_to_open_a_file_of_this_version_writes_nothing(tmp_path: Path) -> None:
    """So it opens on a full disk, too."""
    make(tmp_path).close()
    journal = make(tmp_path)
    assert (tmp_path / "deep" / "journal.sqlite-wal").stat().st_size == 0
    journal.close()


def test_the_hops_of_a_frame_outlive_the_process(tmp_path: Path) -> None:
    """Else a released frame is claimed as one that was never released, and two indexers store it."""
    journal = make(tmp_path)
    (plain,) = units(1)
    journal.begin("t", [replace(plain, hop=3, lost_hops=0b001)], 0)
    journal.note_lost_hops(plain.identity, 0b100)
    journal.close()
    again = make(tmp_path)
    ((_, (found,)),) = again.unfinished()
    assert (found.hop, found.lost_hops) == (3, 0b101)
    again.close()


def test_a_batch_forgets_its_own_frames_alone(tmp_path: Path) -> None:
    journal = make(tmp_path)
    a, b = units(2)
    journal.begin("a", [a], 0)
    journal.begin("b", [b], 0)
    assert journal.leave_out("a", [a.identity, b.identity], "go", [], 1, "") == ""
    assert (journal.state(a.identity), journal.state(b.identity)) == (None, BatchState.OPEN)
    assert journal.stored_parts("a") == {"go"}
    journal.close()


def test_the_numbers_that_a_key_was_used_for(tmp_path: Path) -> None:
    """Parts of a frame count, and keys that begin alike do not."""
    journal = make(tmp_path)
    names = ["m/key/1", "m/key/2/days-3", "m/key/other/4", "m/key0/5", "m/key/", "m/kex/6"]
    frames = [replace(u, identity=n, digest=n.encode()) for u, n in zip(units(6), names, strict=True)]
    journal.begin("t", frames, 0)
    assert sorted(found.digest for found in journal.taken("m/key/")) == [b"m/key/1", b"m/key/2/days-3"]
    journal.close()


def test_a_new_file_does_not_know_since_when_it_is_complete(tmp_path: Path) -> None:
    """It may be there in place of one that is lost; one of before that was noted has all frames."""
    journal = make(tmp_path)
    assert journal.complete_since_ms is None
    journal.begin("t", units(1), 0)
    journal.close()
    older = make(tmp_path)
    assert older.complete_since_ms == 0
    older.close()


def test_an_open_batch_that_others_pass_is_kept_for_a_person_like_those_set_aside(tmp_path: Path) -> None:
    day = 86_400
    many = [
        unit(make_frame(FrameRows(counters=[("a", {}, 0, 1.0), ("a", {}, 31 * day, 1.0)]), retention_days=n))
        for n in range(1, 1601)
    ]
    journal = make(tmp_path, identities=10_000)
    for token, one in zip(("open", "passed"), units(2), strict=True):
        journal.begin(token, [one], 0)
        journal.note_parts(token, (), half=True)
    journal.begin("later", many, 1)
    assert journal.keep_overtaken(2) == 0, "the writer has an open one in hand"
    assert journal.keep_overtaken(2, "passed") == 1
    assert [(one.token, one.state) for one in journal.kept()] == [("passed", BatchState.TOO_OLD)]
    journal.close()
