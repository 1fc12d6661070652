"""Set-aside batches are tried in rounds that no failure ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from indexer.write import set_aside_batches
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.journal import Journal
from indexer.write.set_aside_batches import FailedAttempt, SetAsideBatches
from tests.support.frames import counter_frame, unit


async def test_a_mistake_with_a_batch_ends_no_retries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The second attempt stores it; before, the task had ended until a restart."""
    monkeypatch.setattr(set_aside_batches, "_FIRST_S", 0.01)
    journal = Journal(tmp_path / "journal", max_identities=100, max_age_ms=10**12, max_aside_bytes=1 << 20)
    journal.begin("token", [unit(counter_frame({"a": 1.0}, 0))], 0)
    assert journal.set_aside("token", 0, "refused")
    tries: list[str] = []

    async def attempt(token: str, units: Sequence[AcceptedFrame]) -> FailedAttempt | None:
        assert units
        tries.append(token)
        if len(tries) == 1:
            raise ZeroDivisionError
        journal.finish(token, 0)
        return None

    async def here(call: Callable[..., Any], *args: object) -> Any:
        return call(*args)

    over = asyncio.Event()
    batches = SetAsideBatches(journal, here, attempt, lambda: 0, Mock(), over.set)
    batches.start()
    async with asyncio.timeout(120):
        await over.wait()
    await batches.stop()
    journal.close()
    assert tries == ["token", "token"]
    assert caplog.text.count("event=aside_not_tried") == 1
