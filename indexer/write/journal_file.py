"""Finds and opens the journal by the settings, and counts its unstored batches."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from indexer.clickhouse.data_lock import DataLock
from indexer.clickhouse.store import embedded_path
from indexer.settings import Settings
from indexer.write.journal import BatchState, Journal, JournalError

_DAY_MS: Final = 86_400_000


def has_journal(settings: Settings) -> bool:
    """Return whether a journal batches the frames."""
    return settings.has_journal


def journal_path(settings: Settings) -> Path:
    """Return the journal's file; it need not exist."""
    if settings.journal.path:
        return Path(settings.journal.path)
    data = embedded_path(settings.dsn)
    return Path("data/indexer-journal.sqlite") if data is None else Path(f"{data}.journal.sqlite")


def open_journal(settings: Settings) -> Journal:
    """Open the journal; create it if it is missing.

    Over HTTP it is locked: embedded data have a lock of their own. Raises JournalError.
    """
    path, shared = journal_path(settings), embedded_path(settings.dsn) is None
    return Journal(
        path,
        max_identities=settings.journal.identities,
        max_age_ms=settings.journal.identity_days * _DAY_MS,
        max_aside_bytes=settings.journal.aside_bytes,
        shared=shared,
        lock=_lock(path) if shared else None,
    )


def check_journal(settings: Settings) -> None:
    """Open and close the journal, if there is one: before anything is altered. Raises JournalError."""
    if has_journal(settings):
        open_journal(settings).close()


def is_journal_usable(settings: Settings) -> bool:
    """Return whether a start can use the journal, or has none."""
    try:
        check_journal(settings)
    except JournalError:
        return False
    return True


def _lock(path: Path) -> DataLock:
    try:
        return DataLock(path)
    except OSError as e:
        raise JournalError(f"indexer.journal.path: {e.strerror or e}") from None


def unstored_batches(settings: Settings, before_ms: int) -> int:
    """Return how many batches of the journal wait since before a time; writes nothing.

    Raises JournalError.
    """
    path = journal_path(settings)
    if not has_journal(settings) or not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            (found,) = db.execute(
                "SELECT count() FROM batch WHERE state IN (?, ?) AND changed_ms <= ?",
                (BatchState.OPEN, BatchState.ASIDE, before_ms),
            ).fetchone()
            return int(found)
    except sqlite3.Error as e:
        raise JournalError(f"{path}: {e}") from e
