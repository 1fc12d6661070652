"""Looks for damage in the journal's file, so that a flipped bit neither loses a frame nor counts it twice.

SQLite has no sums of its pages. Its own check compares each table with its indexes. They repeat the columns
that decide how often a frame counts: identity, batch, state and token. Sums cover the bytes of frames
(indexer/write/journal_rows.py). A small file is checked when it is opened, a large one after the start.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Final
from urllib.parse import quote

from indexer.write.journal import Journal, JournalError
from indexer.write.journal_rows import check_pages

log = logging.getLogger(__name__)

#: When the background check begins after the start: frames that waited for that are served first.
_AFTER_S: Final = 5.0
#: How long an end waits for it: SQLite looks through a table without asking.
_END_S: Final = 1.0
#: SQLite asks so often whether to go on, in steps of its virtual machine.
_STEPS: Final = 10_000


class JournalCheck:
    """Checks a large file once, in a thread of its own. `now_ms`: the wall clock."""

    def __init__(self, journal: Journal, now_ms: Callable[[], int]) -> None:
        self._journal = journal
        self._now_ms = now_ms
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="indexer-journal-check", daemon=True)

    def start(self) -> None:
        """Start the check, which begins after some seconds; nothing where the file was checked already."""
        if not self._journal.checked:
            self._thread.start()

    def stop(self) -> None:
        """End the check, and wait a moment for that."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def look(self) -> bool:
        """Return whether the file is whole; if not, log it and have frames looked up in ClickHouse."""
        path = self._journal.path
        try:
            with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
                db.set_progress_handler(self._stopping.is_set, _STEPS)
                check_pages(db)
        except sqlite3.Error as e:
            if self._stopping.is_set():
                return True
            self._look_up_earlier_frames()  # true before it is said
            log.error(
                "event=journal_damaged path=%s text=%s effect=frames sent again are looked up in ClickHouse"
                " hint=stop the indexer and delete the file",
                path,
                e,
            )
            return False
        log.info("event=journal_checked path=%s", path)
        return True

    def _run(self) -> None:
        if not self._stopping.wait(_AFTER_S):
            self.look()

    def _look_up_earlier_frames(self) -> None:
        try:
            self._journal.note_complete(self._now_ms())
        except JournalError as e:
            log.error("event=journal_problem text=%s", e)
