"""The journal's file with every byte damaged, and torn: it is refused, or nothing of it has changed."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from indexer.metrics import Metrics
from indexer.write import journal_rows
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.damaged_batches import DamagedBatches
from indexer.write.health import Health
from indexer.write.journal import BatchState, Journal, JournalError
from indexer.write.journal_check import JournalCheck
from indexer.write.set_aside_batches import SetAsideBatches
from tests.support.frames import counter_frame, unit

AT_MS = 1_700_000_000_000
#: Every third byte is damaged, and every 32nd of the first page, which holds the tables' definitions. All
#: bytes (1 and 1) take 15 s.
STRIDE, OF_DEFINITIONS = 3, 32


def units() -> list[AcceptedFrame]:
    frames = (counter_frame({"a": float(n)}, 0, sequence=n, created_ms=AT_MS) for n in range(1, 5))
    return [AcceptedFrame(f"web/1/{frame.sequence}", unit(frame).body, frame) for frame in frames]


class Facts(NamedTuple):
    """The facts that decide which rows are written, and how often."""

    unfinished: list[tuple[str, list[AcceptedFrame]]]
    states: list[BatchState | None]


def facts(path: Path) -> Facts:
    """Open a journal as an indexer does. Raises JournalError."""
    journal = Journal(path, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)
    try:
        unfinished = journal.unfinished(BatchState.OPEN, BatchState.ASIDE)
        return Facts(unfinished, [journal.state(one.identity) for one in units()])
    finally:
        journal.close()


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Return a closed journal: a stored batch, one that is begun, and one that is set aside."""
    path = tmp_path / "whole.sqlite"
    journal = Journal(path, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)
    one, two, three, four = units()
    journal.begin("stored", [one], AT_MS)
    journal.finish("stored", AT_MS)
    journal.begin("begun", [two, three], AT_MS)
    journal.begin("aside", [four], AT_MS)
    assert journal.set_aside("aside", AT_MS)
    journal.close()
    return path


def seen(path: Path, data: bytes) -> Facts | None:
    """Return the facts of a file with these bytes; None if it is refused."""
    for old in path.parent.glob(f"{path.name}*"):
        old.unlink()
    path.write_bytes(data)
    try:
        return facts(path)
    except JournalError:
        return None


def used(data: bytes) -> Iterator[int]:
    """Positions of bytes that are not 0, of the definitions some."""
    size = int.from_bytes(data[16:18], "big")
    yield from range(0, 100, STRIDE)
    yield from range(100, size, OF_DEFINITIONS)
    yield from (at for at in range(size, len(data)) if data[at] and at % STRIDE == 0)


def test_a_bit_flipped_at_every_position(whole: Path, tmp_path: Path) -> None:
    data, expected = whole.read_bytes(), facts(whole)
    refused = 0
    for at in used(data):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        found = seen(tmp_path / "flipped.sqlite", bytes(flipped))
        assert found in (None, expected), at
        refused += found is None
    assert refused > 200


def test_a_file_cut_at_every_page_and_between(whole: Path, tmp_path: Path) -> None:
    """Less than SQLite's smallest page is taken for a lost file: ClickHouse knows its frames then."""
    data, expected = whole.read_bytes(), facts(whole)
    for end in range(512, len(data), 509):
        assert seen(tmp_path / "cut.sqlite", data[:end]) in (None, expected), end


def test_the_log_of_a_killed_indexer_cut_anywhere(tmp_path: Path) -> None:
    """A batch that was begun, and then stored, is in one of its states: whole, or not there."""
    path = tmp_path / "journal.sqlite"
    journal = Journal(path, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)
    one, two, _, _ = units()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    journal.begin("t", [one, two], AT_MS)
    journal.finish("t", AT_MS)
    log = path.with_name(f"{path.name}-wal").read_bytes()
    data = path.read_bytes()
    journal.close()
    allowed = [
        Facts([], [None] * 4),
        Facts([("t", [one, two])], [BatchState.OPEN] * 2 + [None] * 2),
        Facts([], [BatchState.DONE] * 2 + [None] * 2),
    ]
    states = []
    for end in (*range(0, len(log), 997), len(log)):
        again = tmp_path / "again.sqlite"
        for old in tmp_path.glob("again.sqlite*"):
            old.unlink()
        again.write_bytes(data)
        again.with_name("again.sqlite-wal").write_bytes(log[:end])
        found = facts(again)
        assert found in allowed, end
        states.append(allowed.index(found))
    assert set(states) == {0, 1, 2}


def test_errors_name_the_file_and_say_what_is_accepted(whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    data[data.rindex(b"web/1/2") + 6] ^= 1
    whole.write_bytes(data)
    with pytest.raises(JournalError, match=r"whole\.sqlite: the journal is damaged.*expected a whole file"):
        facts(whole)


def test_a_large_file_is_looked_at_later(
    whole: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_rows, "CHECKED_AT_ONCE", 0)
    damaged = whole.with_name("damaged.sqlite")
    shutil.copy(whole, damaged)
    data = bytearray(damaged.read_bytes())
    data[data.rindex(b"web/1/1") + 6] ^= 1
    damaged.write_bytes(data)
    for path in (whole, damaged):
        journal = Journal(path, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)
        assert not journal.checked
        assert JournalCheck(journal, lambda: AT_MS + 5).look() == (path == whole)
        assert (journal.complete_since_ms == AT_MS + 5) == (path == damaged)
        journal.close()
    (said,) = [r.getMessage() for r in caplog.records if "journal_damaged" in r.getMessage()]
    assert str(damaged) in said


def test_what_damage_means_is_true_before_it_is_said(
    whole: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A frame that came again between the two counted twice; also where the file takes no changes."""
    monkeypatch.setattr(journal_rows, "CHECKED_AT_ONCE", 0)
    data = bytearray(whole.read_bytes())
    data[data.rindex(b"web/1/1") + 6] ^= 1
    whole.write_bytes(data)
    known: list[int | None] = []

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "event=journal_damaged" in record.getMessage():
                known.append(journal.complete_since_ms)

    reader = Reader()
    logging.getLogger("indexer.write.journal_check").addHandler(reader)
    try:
        for changes in (True, False):
            journal = Journal(whole, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)
            if not changes:
                journal._db.execute("PRAGMA query_only = 1")
            assert not JournalCheck(journal, lambda: AT_MS + 5 + len(known)).look()
            journal.close()
    finally:
        logging.getLogger("indexer.write.journal_check").removeHandler(reader)
    assert known == [AT_MS + 5, AT_MS + 6]
    assert caplog.text.count("event=journal_problem") == 1


def test_a_start_does_not_forget_what_the_check_has_found(whole: Path) -> None:
    """The start may look first and note last, when ClickHouse answers late: frames counted twice."""
    journal = Journal(whole, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)
    journal.note_complete(AT_MS + 5)
    journal.note_complete(0)
    assert journal.complete_since_ms == AT_MS + 5
    journal.close()
    journal = Journal(whole, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)
    assert journal.complete_since_ms == AT_MS + 5
    journal.close()


async def test_a_damaged_batch_that_is_set_aside_holds_no_other_up(whole: Path) -> None:
    with closing(sqlite3.connect(whole, isolation_level=None)) as db:
        db.execute("UPDATE frame SET digest = 'x' WHERE identity = 'web/1/4'")
    journal = Journal(whole, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)
    journal.begin("later", [replace(units()[0], identity="web/1/5")], AT_MS)
    assert journal.set_aside("later", AT_MS)
    tried: list[str] = []

    async def attempt(token: str, units: Sequence[AcceptedFrame]) -> None:
        tried.append(f"{token} {len(units)}")

    async def at_once(call: Callable[..., Any], *args: object) -> Any:
        return call(*args)

    damaged = DamagedBatches(journal, lambda _: (), Metrics(), Health())
    aside = SetAsideBatches(journal, at_once, attempt, lambda: AT_MS, damaged, Metrics().mistake)
    assert await aside._round()
    assert tried == ["later 1"]
    failed = await aside.retry("aside")
    assert failed is not None
    assert failed.told == "its bytes in the journal are damaged: drop it"
    journal.close()


def test_a_damaged_allowance_is_not_known(whole: Path) -> None:
    """A large file is not checked before it is read; a flipped bit of a row's header makes a value NULL."""
    with closing(sqlite3.connect(whole)) as db:
        db.executescript("DROP TABLE allowance; CREATE TABLE allowance (parts REAL, at_ms INTEGER)")
        db.execute("INSERT INTO allowance VALUES (NULL, 1)")
        db.commit()
    journal = Journal(whole, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)
    assert journal.allowance is None
    journal.close()


def test_bytes_that_a_program_without_sums_changes_are_taken(whole: Path) -> None:
    """An older Meterhouse ends a refused frame with fewer rows; a later retry reads them."""
    with closing(sqlite3.connect(whole, isolation_level=None)) as db:
        (body,) = db.execute("SELECT body FROM frame WHERE identity = 'web/1/2'").fetchone()
        db.execute("UPDATE frame SET body = ? WHERE identity = 'web/1/3'", (body,))
    found = dict(facts(whole).unfinished)["begun"]
    assert [one.body for one in found] == [body, body]


def test_an_ended_frame_has_the_sum_of_its_new_bytes(whole: Path) -> None:
    journal = Journal(whole, max_identities=10, max_age_ms=1 << 40, max_aside_bytes=1 << 20)
    _, two, three, _ = units()
    journal.end("begun", [AcceptedFrame(two.identity, three.body, two.frame)], AT_MS, "no")
    (ended,) = [kept.token for kept in journal.kept() if kept.state is BatchState.ENDED]
    assert [one.body for one in journal.units(ended)] == [three.body]
    journal.close()
    with closing(sqlite3.connect(whole)) as db:
        assert db.execute("SELECT count() FROM frame WHERE sum IS NULL").fetchone() == (0,)
