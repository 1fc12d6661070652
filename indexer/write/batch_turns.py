"""Orders the batches that were taken from the queue, where a batch may be a single message. Pure.

A message with a key is a batch of its own. Hundreds of them from one org would hold up all other frames, so
they take turns with the batches of agents' frames, and orgs take turns among them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from indexer.write.accepted_frame import AcceptedFrame


class TakenBatch(NamedTuple):
    """A batch that is to be written under a token."""

    token: str
    units: list[AcceptedFrame]

    @property
    def alone(self) -> bool:
        """Whether it is one frame whose identity is the token."""
        return self.units[0].identity == self.token


class BatchTurns:
    """Batches that wait for their turn; the queue's bounds hold them."""

    def __init__(self) -> None:
        self._shared: deque[TakenBatch] = deque()
        self._alone: dict[int, deque[TakenBatch]] = {}  # by org, the next one's first; none is empty
        self._alone_next = False

    def __bool__(self) -> bool:
        return bool(self._shared or self._alone)

    def add(self, batches: Iterable[tuple[str, list[AcceptedFrame]]]) -> None:
        """Add batches; none is empty."""
        for batch in (TakenBatch(*one) for one in batches):
            if batch.alone:
                self._alone.setdefault(batch.units[0].frame.org_id, deque()).append(batch)
            else:
                self._shared.append(batch)

    def put_back(self, batches: Iterable[TakenBatch]) -> None:
        """Add batches again that had to wait."""
        self.add((batch.token, batch.units) for batch in batches)

    def pop(self) -> TakenBatch:
        """Remove the next batch: one of several frames, then a single one of the next org."""
        if self._shared and not (self._alone and self._alone_next):
            self._alone_next = True
            return self._shared.popleft()
        self._alone_next = False
        org_id = next(iter(self._alone))
        of_org = self._alone.pop(org_id)
        batch = of_org.popleft()
        if of_org:
            self._alone[org_id] = of_org
        return batch
