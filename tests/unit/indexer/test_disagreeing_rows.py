"""Bits of a large journal that flip in rows of unfinished batches: no frame waits for ever, or is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from indexer.metrics import Metrics
from indexer.write import journal_rows
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.damaged_batches import AWAITED_S, DamagedBatches
from indexer.write.disagreeing_rows import disagreeing_rows
from indexer.write.health import Health
from indexer.write.journal import BatchState, DamagedFramesError, Journal, JournalError
from tests.support.frames import counter_frame, unit

AT_MS: Final = 1_700_000_000_000
#: The first byte of a page with rows of a table (https://sqlite.org/fileformat.html, "B-tree Pages").
_TABLE_LEAF: Final = 13
#: The distance of the bits that flip, of bytes that are not 0. All bits take minutes.
STRIDE: Final = {
    "batch": 23,
    "sqlite_autoindex_batch_1": 23,
    "batch_state": 11,
    "frame_batch": 17,
    "frame": 157,
}


def of(sequence: int) -> AcceptedFrame:
    frame = counter_frame({"a": float(sequence)}, 0, sequence=sequence, created_ms=AT_MS)
    return replace(unit(frame), identity=f"web/1/{sequence}", digest=b"d" * 16)


STORED, ONE, TWO, ASIDE, LAST = ALL = [of(n) for n in range(1, 6)]
BATCHES: Final = {"begun": [ONE, TWO], "aside": [ASIDE], "last": [LAST]}


def opened(path: Path) -> Journal:
    return Journal(path, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a journal that is taken for a large one: a stored batch, and three that are not."""
    monkeypatch.setattr(journal_rows, "CHECKED_AT_ONCE", -1)
    path = tmp_path / "whole.sqlite"
    with closing(opened(path)) as journal:
        journal.begin("stored", [STORED], AT_MS)
        journal.finish("stored", AT_MS)
        for token, units in BATCHES.items():
            journal.begin(token, units, AT_MS)
        journal.note_parts("begun", ["counters/0"], half=False)
        assert journal.set_aside("aside", AT_MS)
    return path


def changed(whole: Path, data: bytes) -> Path:
    path = whole.with_name("changed.sqlite")
    for old in path.parent.glob("changed.sqlite*"):
        old.unlink()
    path.write_bytes(data)
    return path


def stored_of(identities: Collection[str]) -> Collection[str]:
    return {STORED.identity} & set(identities)


def replayed(journal: Journal) -> Iterator[tuple[str, list[AcceptedFrame]]]:
    """Yield the batches that are written after a start; the senders of damaged frames do not come."""
    now_s = 0.0
    damaged = DamagedBatches(journal, stored_of, Metrics(), Health(), lambda: now_s)
    yield from damaged.unfinished(AT_MS)
    for token in journal.tokens(BatchState.ASIDE):
        try:
            yield token, journal.units(token, (BatchState.ASIDE,))
        except DamagedFramesError as e:
            damaged.rest(token, e, AT_MS, asked=False)
            now_s += AWAITED_S
            yield token, damaged.rest(token, e, AT_MS, asked=False)


def faults(path: Path) -> list[str]:
    """Return the wrong ends of frames; none if the file is refused, which a person sees."""
    try:
        with closing(opened(path)) as journal:
            written = list(replayed(journal))
            states = {one.identity: journal.state(one.identity) for one in ALL}
            looked_up = journal.complete_since_ms == AT_MS
    except JournalError:
        return []
    found = [
        f"{unit.identity} written under {token}"
        for token, units in written
        for unit in units
        if unit.identity not in {one.identity for one in BATCHES.get(token, ())}
    ]
    in_time = {unit.identity for _, units in written for unit in units}
    for identity, state in states.items():
        if identity == STORED.identity:
            if state is not BatchState.DONE and (state is not None or not looked_up):
                found.append(f"{identity} is {state}")
        elif identity not in in_time and state is not BatchState.TOO_OLD:
            found.append(f"{identity} is {state}, and not written")
    return found


def roots(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0"))


@pytest.mark.parametrize("name", STRIDE)
def test_a_bit_flips_in_a_table_or_an_index(whole: Path, name: str) -> None:
    data, page = whole.read_bytes(), roots(whole)[name]
    size = int.from_bytes(data[16:18], "big")
    bits = [8 * at + bit for at in range(size * (page - 1), size * page) if data[at] for bit in range(8)]
    found = {}
    for bit in bits[:: STRIDE[name]]:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path = changed(whole, bytes(flipped))
        # The background check sees a row of a stored frame that is lost, and has it looked up.
        if wrong := [one for one in faults(path) if one != f"{STORED.identity} is None"]:
            found[bit] = wrong
    assert found == {}


def flipped(whole: Path, page: str, text: bytes, at: int) -> Path:
    """Return the file with a damaged letter in a table or an index."""
    data = bytearray(whole.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    begin = size * (roots(whole)[page] - 1)
    data[data.index(text, begin, begin + size) + at] ^= 1
    return changed(whole, bytes(data))


@pytest.mark.parametrize("page", ["batch", "sqlite_autoindex_batch_1"])
def test_frames_of_a_batch_with_a_damaged_token_are_kept(
    whole: Path, page: str, caplog: pytest.LogCaptureFixture
) -> None:
    """ClickHouse may have them under the right token, so they are not written under another one."""
    with closing(opened(flipped(whole, page, b"begun", 2))) as journal:
        assert dict(replayed(journal)) == {"last": [LAST], "aside": [ASIDE]}
        (kept,) = [one for one in journal.kept() if one.state is BatchState.TOO_OLD]
        assert journal.units(kept.token) == [ONE, TWO]
        assert kept.bytes == len(ONE.body) + len(TWO.body)
        assert journal.complete_since_ms == AT_MS
    assert "event=journal_rows_damaged batches=1 frames=2 kept=2" in caplog.text
    with closing(opened(whole.with_name("changed.sqlite"))) as journal:
        journal_rows.check_pages(journal._db)


def test_a_damaged_identity_that_the_index_has_is_mended(whole: Path) -> None:
    with closing(opened(flipped(whole, "frame", b"web/1/2", 1))) as journal:
        assert dict(replayed(journal))["begun"] == [ONE, TWO]
        assert not [one for one in journal.kept() if one.state is BatchState.TOO_OLD]
        journal_rows.check_pages(journal._db)


def test_a_damaged_identity_in_the_index_changes_nothing(whole: Path) -> None:
    with closing(opened(flipped(whole, "frame_batch", b"web/1/2", 1))) as journal:
        assert dict(replayed(journal)) == BATCHES
        journal_rows.check_pages(journal._db)


def test_stored_frames_of_a_damaged_batch_leave_no_bytes(whole: Path) -> None:
    with closing(opened(flipped(whole, "batch", b"begun", 2))) as journal:
        DamagedBatches(journal, set, Metrics(), Health()).unfinished(AT_MS)
        assert (journal.state(ONE.identity), journal.state(TWO.identity)) == (BatchState.DONE,) * 2
        with journal.reading() as db:
            (bodies,) = db.execute("SELECT count(body) FROM frame").fetchone()
        assert bodies == len([ASIDE, LAST])


def test_batches_without_exact_sizes_are_compared_by_one_look_at_all_frames(whole: Path) -> None:
    """The size still has frames that left, and parts of frames that ended; there may be many such batches."""
    with closing(opened(whole)) as journal:
        with journal.transaction() as db:
            db.execute("UPDATE batch SET bytes = bytes + 1")
        statements: list[str] = []
        with journal.reading() as db:
            db.set_trace_callback(statements.append)
            assert not disagreeing_rows(db)
            db.set_trace_callback(None)
    assert len([one for one in statements if "+batch IN" in one]) == 1


def test_a_page_of_stored_batches_that_cannot_be_read_ends_no_start(whole: Path) -> None:
    with closing(opened(whole)) as journal:
        with closing(sqlite3.connect(whole)) as db:
            db.executemany(
                "INSERT INTO batch (number, token, state, bytes, changed_ms) VALUES (?, ?, ?, 0, 0)",
                ((number, f"{number:060}", BatchState.DONE) for number in range(-200, -100)),
            )
            db.commit()
        assert journal.tokens(BatchState.OPEN) == ["begun", "last"]
    data = bytearray(whole.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    at = next(
        at
        for at in range(0, len(data), size)
        if data[at] == _TABLE_LEAF and b"%060d" % -200 in data[at : at + size]
    )
    data[at : at + size] = bytes(size)
    with closing(opened(changed(whole, bytes(data)))) as journal:
        assert dict(replayed(journal)) == BATCHES


def test_a_whole_file_stays_as_it_is(whole: Path) -> None:
    with closing(opened(whole)) as journal:
        assert dict(replayed(journal)) == BATCHES
        assert journal.complete_since_ms == 0
