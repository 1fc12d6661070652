"""An inserter without a store: a test defines the result of each INSERT."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence

from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.inserter import Inserter
from indexer.write.write_gate import WriteGate


class MemoryInserter(Inserter):
    """An inserter whose INSERTs are calls of `store_frames`."""

    def __init__(self) -> None:
        self.gate = WriteGate()

    def prepare(self, units: Sequence[AcceptedFrame]) -> None:
        """Leave all to the batch."""

    def insert(
        self,
        token: str,
        units: Sequence[AcceptedFrame],
        *,
        first: bool = False,  # noqa: ARG002
        stored: Collection[str] = (),  # noqa: ARG002
        entered: bool = False,  # noqa: ARG002
    ) -> int:
        return self.store_frames(token, units)

    @abstractmethod
    def store_frames(self, token: str, units: Sequence[AcceptedFrame]) -> int:
        """Store the frames of one batch; return their rows, or fail as an INSERT does."""
