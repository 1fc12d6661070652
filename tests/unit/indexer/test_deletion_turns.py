"""When a deletion holds the INSERTs of its org back, beside batches that several orgs share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.store import Store
from indexer.deletion.deleter import Deleter, DeletionParts
from indexer.deletion.deletion_request import DeletionBusyError
from indexer.deletion.unsettled_batches import UnsettledBatch, unsettled_batches
from indexer.write.gated_batches import GatedBatches
from indexer.write.identity import frame_identity
from indexer.write.journal import Journal
from indexer.write.write_gate import WriteGate
from tests.support.frames import counter_frame, unit

FIRST, SECOND = (unit(counter_frame({"a": 1.0}, 0, sequence=org, org_id=org)) for org in (1, 2))


class Shared:
    """A batch of both orgs that is tried again between two looks of a deletion, and stored at last."""

    def __init__(self, failures: int) -> None:
        self.gate = WriteGate()
        self.failures = failures
        self.tries = 0
        parts = DeletionParts(self.gate, None, Mock(), alone=True, unsettled=self.unsettled, sleep=self.retry)
        self.deleter = Deleter(Mock(spec=Store), Retention(), parts)

    def unsettled(self, org_id: int, *, shared: bool = False) -> Sequence[UnsettledBatch]:
        assert (org_id, shared, self.gate.closed) == (1, True, frozenset({1}))
        return [UnsettledBatch("token")] if self.tries < self.failures else []

    def retry(self, _: float) -> None:
        with GatedBatches(self.gate).passing([FIRST, SECOND]) as entered:
            self.tries += entered


def test_a_deletion_lets_batches_of_other_orgs_end_first() -> None:
    it = Shared(failures=3)
    with it.deleter._renewed(1):
        assert (it.tries, it.gate.closed) == (3, frozenset({1}))


def test_a_deletion_gives_up_if_such_a_batch_does_not_end() -> None:
    it = Shared(failures=1_000)
    with pytest.raises(DeletionBusyError, match="token; delete again"), it.deleter._renewed(1):
        pass
    assert (it.tries, it.gate.closed) == (59, frozenset())


def test_which_batches_several_orgs_share(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite", max_identities=10, max_age_ms=10**9, max_aside_bytes=1 << 20)
    journal.begin("both", [FIRST, SECOND], 1)
    journal.begin("alone", [unit(counter_frame({"a": 1.0}, 0, sequence=9, org_id=1))], 1)
    both, alone = UnsettledBatch("both"), UnsettledBatch("alone")
    assert unsettled_batches(journal, 1) == [both, alone]
    assert unsettled_batches(journal, 1, shared=True) == unsettled_batches(journal, 2) == [both]
    journal.close()


def test_frames_of_other_orgs_are_not_read(tmp_path: Path) -> None:
    """INSERTs of the org wait meanwhile, and a million frames may be set aside."""
    journal = Journal(tmp_path / "j.sqlite", max_identities=10, max_age_ms=10**9, max_aside_bytes=1 << 20)
    for number in range(20):
        frame = counter_frame({"a": 1.0}, 0, sequence=number, org_id=1 + number % 2, created_ms=1_000)
        journal.begin(f"t{number}", [replace(unit(frame), identity=frame_identity(frame, 0))], 1)
        if number % 4 < 2:
            assert journal.set_aside(f"t{number}", 2)

    def read(org_id: int, scoped_from_ms: int) -> tuple[list[str], int]:
        statements: list[str] = []
        journal._reader.set_trace_callback(statements.append)
        found = unsettled_batches(journal, org_id, scoped_from_ms=scoped_from_ms)
        journal._reader.set_trace_callback(None)
        return [one.token for one in found], sum("body" in one for one in statements)

    odd = [f"t{number}" for number in range(1, 20, 2)]
    assert read(3, 0) == ([], 0)
    assert read(2, 0) == (odd, 5), "of the batches that a refusal names"
    assert read(2, 1_001) == (odd, 20), "an agent of that time may be called as an org is in identities"
    journal.close()
