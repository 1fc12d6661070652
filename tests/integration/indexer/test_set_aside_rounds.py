"""Set-aside batches are tried in rounds that no failure ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from indexer import periodic_task
from indexer.clickhouse.faults import Fault
from indexer.metrics import Metrics
from indexer.write import batch_pages, set_aside_batches
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_state import BatchState
from indexer.write.journal import Journal
from indexer.write.set_aside_batches import FailedAttempt, SetAsideBatches
from tests.support.frames import counter_frame, unit


async def here(call: Callable[..., Any], *args: object) -> Any:
    return call(*args)


async def test_a_round_tries_the_batches_of_all_pages_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are set aside meanwhile come in the next round: a round ends."""
    monkeypatch.setattr(batch_pages, "_PAGE", 2)
    journal = Journal(tmp_path / "journal", max_identities=100, max_age_ms=10**12, max_aside_bytes=1 << 20)
    tries: list[str] = []

    def aside(token: str, sequence: int) -> None:
        journal.begin(token, [unit(counter_frame({"a": 1.0}, 0, sequence=sequence))], 0)
        assert journal.set_aside(token, 0, "refused")

    async def attempt(token: str, units: Sequence[AcceptedFrame]) -> FailedAttempt | None:
        assert units
        tries.append(token)
        if len(tries) < 20:
            aside(f"new{len(tries)}", 100 + len(tries))
        if token != "t1":
            journal.finish(token, 0)
            return None
        return FailedAttempt("refused", Fault.STATEMENT)

    for number in range(5):
        aside(f"t{number}", number)
    batches = SetAsideBatches(journal, here, attempt, lambda: 0, Mock(), Metrics().mistake)
    assert await batches._round()
    assert tries == [f"t{number}" for number in range(5)]
    assert await batches._round()
    assert tries[5:] == ["t1", *(f"new{number}" for number in range(1, 6))]
    assert (await batches.count())[BatchState.ASIDE] == 7
    assert not await SetAsideBatches(journal, here, refused, lambda: 0, Mock(), Metrics().mistake)._round()
    journal.close()


async def refused(token: str, units: Sequence[AcceptedFrame]) -> FailedAttempt | None:
    del token, units
    return FailedAttempt("away", None)


async def test_a_mistake_with_a_batch_ends_no_retries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The second attempt stores it; before, the task had ended until a restart."""
    monkeypatch.setattr(set_aside_batches, "_FIRST_S", 0.01)
    monkeypatch.setattr(periodic_task, "FIRST_REST_S", 0.01)
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

    over, mistakes = asyncio.Event(), list[str]()
    batches = SetAsideBatches(journal, here, attempt, lambda: 0, Mock(), mistakes.append, over.set)
    batches.start()
    async with asyncio.timeout(120):
        await over.wait()
    await batches.stop()
    journal.close()
    assert tries == ["token", "token"]
    assert caplog.text.count("event=task_failed task=aside") == 1
    assert mistakes == ["aside"]


FIRST, SECOND = (unit(counter_frame({"a": 1.0}, 0, sequence=n)) for n in (1, 2))


def aside(folder: Path) -> Journal:
    """Return a journal whose batch "t" of two frames is set aside; an INSERT of it may be stored in part."""
    journal = Journal(folder / "journal", max_identities=100, max_age_ms=10**12, max_aside_bytes=1 << 20)
    journal.begin("t", [FIRST, SECOND], 0)
    assert journal.set_aside("t", 0, "refused")
    journal.note_parts("t", (), half=True)
    return journal


async def test_a_batch_that_is_over_is_not_tried_for_a_person(tmp_path: Path) -> None:
    journal = aside(tmp_path)
    journal.finish("t", 1)
    with pytest.raises(KeyError):
        await SetAsideBatches(journal, here, refused, lambda: 0, Mock(), Mock()).retry("t")
    journal.close()


async def test_one_batch_is_tried_at_once(tmp_path: Path) -> None:
    """Two attempts with a token at the same time may both be stored."""
    journal, go = aside(tmp_path), asyncio.Event()
    running: list[int] = []

    async def attempt(token: str, units: Sequence[AcceptedFrame]) -> FailedAttempt | None:
        running.append(running[-1] + 1 if running else 1)
        await go.wait()
        running.append(running[-1] - 1)
        return await refused(token, units)

    batches = SetAsideBatches(journal, here, attempt, lambda: 0, Mock(), Mock())
    tries = [asyncio.create_task(batches.retry("t")) for _ in range(2)]
    tries.append(asyncio.create_task(batches._round()))  # type: ignore[arg-type]
    for _ in range(20):
        await asyncio.sleep(0)
    go.set()
    async with asyncio.timeout(120):
        await asyncio.gather(*tries)
    assert running == [1, 0] * 3
    journal.close()


async def test_a_batch_whose_token_may_be_forgotten_is_not_tried_again(tmp_path: Path) -> None:
    journal = aside(tmp_path)
    journal._max_later_blocks = 0
    journal.begin("later", [unit(counter_frame({"a": 1.0}, 0, sequence=3))], 1)
    tries: list[str] = []

    async def attempt(token: str, units: Sequence[AcceptedFrame]) -> FailedAttempt | None:
        tries.append(token)
        return await refused(token, units)

    await SetAsideBatches(journal, here, attempt, lambda: 0, Mock(), Mock())._round()
    assert (tries, journal.state(FIRST.identity)) == ([], BatchState.TOO_OLD)
    journal.close()


async def test_the_rest_is_tried_at_once_when_a_frame_ended(tmp_path: Path) -> None:
    journal = aside(tmp_path)
    tries: list[list[str]] = []

    async def attempt(token: str, units: Sequence[AcceptedFrame]) -> FailedAttempt | None:
        tries.append([one.identity for one in units])
        if len(tries) == 1:
            return FailedAttempt("refused", Fault.BYTES, ended=frozenset({FIRST.identity}))
        journal.finish(token, 0)
        return None

    assert await SetAsideBatches(journal, here, attempt, lambda: 0, Mock(), Mock()).retry("t") is None
    assert tries == [[FIRST.identity, SECOND.identity], [SECOND.identity]]
    journal.close()
