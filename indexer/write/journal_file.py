"""Where the journal is, by the settings, and how it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from indexer.clickhouse.store import embedded_path
from indexer.settings import Settings
from indexer.write.journal import Journal

_DAY_MS: Final = 86_400_000


def has_journal(settings: Settings) -> bool:
    """Return whether frames are batched by a journal."""
    embedded = embedded_path(settings.dsn) is not None
    return settings.batching == "journal" or (settings.batching == "auto" and embedded)


def journal_path(settings: Settings) -> Path:
    """Return the journal's file; it need not exist."""
    if settings.journal.path:
        return Path(settings.journal.path)
    data = embedded_path(settings.dsn)
    return Path("data/indexer-journal.sqlite") if data is None else Path(f"{data}.journal.sqlite")


def open_journal(settings: Settings) -> Journal:
    """Open the journal, made where it is not there. Raises JournalError."""
    return Journal(
        journal_path(settings),
        max_identities=settings.journal.identities,
        max_age_ms=settings.journal.identity_days * _DAY_MS,
        max_aside_bytes=settings.journal.aside_bytes,
    )
