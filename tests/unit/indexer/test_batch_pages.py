"""Batches of the journal in pages: all frames in order, and no page with many more than its bound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.write import batch_pages
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_pages import BatchFrame, frames_of_batches
from indexer.write.batch_state import BatchState
from indexer.write.journal import Journal
from tests.support.frames import counter_frame, unit

AT_MS = 1_700_000_000_000
SIZES = (2, 1, 3, 3, 1)  # frames of each batch


def frame(number: int) -> AcceptedFrame:
    of = counter_frame({"a": float(number)}, 0, sequence=number, created_ms=AT_MS)
    return replace(unit(of), identity=f"web/1/{number}")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    path = tmp_path / "journal.sqlite"
    with closing(Journal(path, max_identities=10, max_age_ms=1, max_aside_bytes=1 << 20)) as journal:
        for batch, size in enumerate(SIZES):
            journal.begin(f"batch-{batch}", [frame(10 * batch + at) for at in range(size)], AT_MS)
        yield journal


@pytest.mark.parametrize(("batches", "frames"), [(1, 100), (2, 100), (100, 1), (100, 4), (100, 100)])
def test_pages_have_each_frame_once(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, batches: int, frames: int
) -> None:
    monkeypatch.setattr(batch_pages, "_PAGE", batches)
    monkeypatch.setattr(batch_pages, "_FRAMES", frames)
    assert list(frames_of_batches(journal, (BatchState.OPEN,))) == [
        BatchFrame(f"batch-{batch}", f"web/1/{10 * batch + at}", AT_MS)
        for batch, size in enumerate(SIZES)
        for at in range(size)
    ]


def test_a_batch_without_frames_ends_nothing(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_pages, "_PAGE", 1)
    with journal.transaction() as db:
        db.execute("DELETE FROM frame WHERE batch = 2")
    found = {of.token for of in frames_of_batches(journal, (BatchState.OPEN,))}
    assert found == {"batch-0", "batch-2", "batch-3", "batch-4"}


def test_a_page_ends_with_the_batch_that_reaches_its_bound(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_pages, "_FRAMES", 3)
    last, found = batch_pages._page(journal, (BatchState.OPEN,), 0)
    assert (last, len(found)) == (2, 3)
