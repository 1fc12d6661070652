"""One attempt to write a batch: the order of its steps, and the state after a failure, for the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.schema.metric_types import Kind
from indexer.clickhouse.store import StoreError
from indexer.metrics import Metrics
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_attempts import BatchAttempts
from indexer.write.batch_claims import BatchClaims, Decided
from indexer.write.batch_state import BatchState
from indexer.write.errors import Unavailable, WriteError
from indexer.write.frame_claims import FrameClaims, Verdict
from indexer.write.gated_batches import GatedBatches
from indexer.write.health import Health
from indexer.write.journal import Journal, JournalError
from tests.integration.indexer.memory_inserter import MemoryInserter
from tests.support.bit_table import MemoryBits
from tests.support.frames import counter_frame, unit

ONE, TWO = (unit(counter_frame({"a": 1.0}, 0, sequence=n)) for n in (1, 2))
BOTH = [ONE, TWO]


class Insert(NamedTuple):
    """A call of the inserter, and the state that its first frame then had in the journal."""

    token: str
    identities: list[str]
    first: bool
    stored: frozenset[str]
    state: BatchState | None


class Inserts(MemoryInserter):
    """Notes the calls; the first ones fail with `errors`. ClickHouse refuses the bytes of `bad`."""

    def __init__(self, journal: Journal, *errors: Exception, bad: Sequence[AcceptedFrame] = ()) -> None:
        super().__init__()
        self.made: list[Insert] = []
        self._journal = journal
        self._errors = list(errors)
        self._bad = bad

    def insert(
        self,
        token: str,
        units: Sequence[AcceptedFrame],
        *,
        first: bool = False,
        stored: Collection[str] = (),
        entered: bool = False,
    ) -> int:
        assert entered
        state = self._journal.state(units[0].identity)
        self.made.append(Insert(token, [u.identity for u in units], first, frozenset(stored), state))
        if self._errors:
            raise self._errors.pop(0)
        return 1

    def store_frames(self, token: str, units: Sequence[AcceptedFrame]) -> int:
        raise NotImplementedError

    def refused(self, units: Sequence[AcceptedFrame], kind: Kind) -> list[AcceptedFrame]:  # noqa: ARG002
        return [one for one in units if one in self._bad]


class Attempts:
    """The attempts of an indexer; with `bits` others write, too. `divided`: frames that left the batches."""

    def __init__(
        self,
        folder: Path,
        *errors: Exception,
        bits: MemoryBits | None = None,
        bad: Sequence[AcceptedFrame] = (),
    ) -> None:
        path = folder / "journal.sqlite"
        self.journal = Journal(path, max_identities=10, max_age_ms=10**9, max_aside_bytes=1 << 20)
        self.inserter = Inserts(self.journal, *errors, bad=bad)
        self.divided: list[Decided] = []
        claims = BatchClaims(FrameClaims(bits), self.journal) if bits is not None else None
        self._attempts = BatchAttempts(
            self.inserter, self.journal, Metrics(), Health(), self._in_thread,
            gated=GatedBatches(self.inserter.gate), claims=claims,
            on_divided=lambda _, decided: self.divided.append(decided),
        )  # fmt: skip
        self.attempt = self._attempts.attempt

    def half(self) -> bool:
        """Return whether an INSERT may be stored in part."""
        with self.journal.reading() as db:
            return bool(db.execute("SELECT half_at NOT NULL FROM batch").fetchone()[0])

    @staticmethod
    async def _in_thread(call: Callable[..., Any], *args: object) -> Any:
        return await asyncio.to_thread(call, *args)


def failure(fault: Fault, *stored: str) -> StoreError:
    error = StoreError("failed", retryable=True, fault=fault)
    error.kind, error.stored = "gauges", stored
    return error


async def test_a_batch_is_done_after_its_rows_and_only_then(tmp_path: Path) -> None:
    of = Attempts(tmp_path)
    of.journal.begin("t", BOTH, 0)
    assert await of.attempt("t", BOTH, first=True) is None
    assert of.inserter.made == [Insert("t", [ONE.identity, TWO.identity], True, frozenset(), BatchState.OPEN)]
    assert of.journal.state(TWO.identity) is BatchState.DONE
    of.journal.close()


async def test_a_batch_without_its_mark_is_tried_again_under_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = Attempts(tmp_path)
    of.journal.begin("t", BOTH, 0)

    def full(*_: object) -> None:
        raise JournalError("no space")

    with monkeypatch.context() as broken:
        broken.setattr(of.journal, "finish", full)
        failed = await of.attempt("t", BOTH, first=True)
    assert failed is not None
    assert failed.fault is None
    assert of.journal.state(ONE.identity) is BatchState.OPEN
    assert await of.attempt("t", BOTH) is None
    assert [(made.token, made.first) for made in of.inserter.made] == [("t", True), ("t", False)]
    of.journal.close()


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.RIGHTS])
async def test_what_is_stored_is_left_out_by_the_next_attempt(tmp_path: Path, fault: Fault) -> None:
    of = Attempts(tmp_path, failure(fault, "counters/0"))
    of.journal.begin("t", BOTH, 0)
    failed = await of.attempt("t", BOTH, first=True)
    assert failed is not None
    assert failed.fault is fault
    assert of.journal.stored_parts("t") == {"counters/0"}
    assert of.half() == (fault is Fault.BUSY), "a refusal comes before any row"
    assert await of.attempt("t", BOTH) is None
    assert of.inserter.made[1].stored == {"counters/0"}
    of.journal.close()


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.RIGHTS])
async def test_a_first_insert_may_be_stored_in_part(tmp_path: Path, fault: Fault) -> None:
    of = Attempts(tmp_path, failure(fault))
    of.journal.begin("t", BOTH, 0)
    assert await of.attempt("t", BOTH, first=True) is not None
    assert of.half() == (fault is Fault.BUSY)
    of.journal.close()


async def test_a_refused_frame_leaves_its_batch(tmp_path: Path) -> None:
    of = Attempts(tmp_path, failure(Fault.BYTES), bad=[TWO])
    of.journal.begin("t", BOTH, 0)
    failed = await of.attempt("t", BOTH, first=True)
    assert failed is not None
    assert failed.ended == failed.gone == {TWO.identity}
    assert of.journal.state(TWO.identity) is BatchState.ENDED
    of.journal.close()


async def test_a_mistake_of_ours_is_of_one_batch(tmp_path: Path) -> None:
    of = Attempts(tmp_path, ZeroDivisionError())
    of.journal.begin("t", BOTH, 0)
    failed = await of.attempt("t", BOTH, first=True)
    assert failed is not None
    assert failed.of_one_batch
    assert of.journal.state(ONE.identity) is BatchState.OPEN
    of.journal.close()


async def test_a_batch_waits_for_a_deletion_of_its_org(tmp_path: Path) -> None:
    of = Attempts(tmp_path)
    of.journal.begin("t", BOTH, 0)
    with of.inserter.gate.alone(ONE.frame.org_id, 120):
        failed = await of.attempt("t", BOTH)
    assert failed is not None
    assert (failed.waits, of.inserter.made) == (True, [])
    assert await of.attempt("t", BOTH) is None
    of.journal.close()


@pytest.mark.parametrize("fails", ["store", "journal"])
async def test_frames_of_another_indexer_leave_once(
    tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed attempt tells them, and the next one does not claim the rest again."""
    bits = MemoryBits()
    FrameClaims(bits).announce("other", [replace(ONE, hop=1)])
    errors = [failure(Fault.BUSY)] if fails == "store" else []
    of = Attempts(tmp_path, *errors, bits=bits)
    of.journal.begin("t", BOTH, 0)
    answers: dict[str, WriteError | None] = {}
    finish = of.journal.finish

    def full_once(*args: Any) -> None:
        monkeypatch.setattr(of.journal, "finish", finish)
        raise JournalError("no space")

    if fails == "journal":
        monkeypatch.setattr(of.journal, "finish", full_once)
    failed = await of.attempt("t", BOTH, first=True, answers=answers)
    assert failed is not None
    assert failed.left_out == failed.gone == {ONE.identity}
    told = answers[ONE.identity]
    assert isinstance(told, Unavailable)
    assert Verdict.ELSEWHERE.value in str(told)
    assert of.journal.state(ONE.identity) is None
    FrameClaims(bits).announce("other", [replace(TWO, hop=1)])  # too late: the batch is ours
    assert await of.attempt("t", [TWO]) is None
    assert [made.identities for made in of.inserter.made] == [[TWO.identity]] * 2
    assert len(of.divided) == 1
    of.journal.close()


async def test_a_batch_whose_frames_all_left_is_over(tmp_path: Path) -> None:
    bits = MemoryBits()
    FrameClaims(bits).announce("other", [replace(one, hop=1) for one in BOTH])
    of = Attempts(tmp_path, bits=bits)
    of.journal.begin("t", BOTH, 0)
    assert await of.attempt("t", BOTH, first=True) is None
    assert (of.inserter.made, of.journal.unfinished()) == ([], [])
    of.journal.close()
