"""Batches of the journal whose claims are written, until all replicas have these. For one event loop.

Owns the wait: other batches are written meanwhile. The bytes of such a batch stay held
(indexer/write/held_bytes.py), so an org has half of the queue in them at most.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import WriteError


class BegunBatch(NamedTuple):
    """A batch of the journal. `senders`: the frames whose senders wait; `answers` to those not in `units`.

    `held`: the queue counts the bytes of `senders`. `passed`: these were answered 503, as it lacks room.
    """

    token: str
    units: Sequence[AcceptedFrame]
    senders: list[AcceptedFrame]
    answers: Mapping[str, WriteError | None]
    held: bool
    passed: bool = False


class SettlingBatches:
    """See the module. `on_settled` is called when a batch may continue."""

    def __init__(self, on_settled: Callable[[], None]) -> None:
        self._on_settled = on_settled
        self._waiting: dict[str, asyncio.TimerHandle] = {}  # by token
        self._settled: deque[BegunBatch] = deque()

    def __bool__(self) -> bool:
        return bool(self._settled)

    def add(self, batch: BegunBatch, rest_s: float) -> None:
        """Let a batch wait."""
        loop = asyncio.get_running_loop()
        self._waiting[batch.token] = loop.call_later(rest_s, self._settle, batch)

    def pop(self) -> BegunBatch:
        """Remove a batch that may continue."""
        return self._settled.popleft()

    def stop(self) -> None:
        """End all waits: the journal has the batches."""
        for handle in self._waiting.values():
            handle.cancel()
        self._waiting.clear()

    def _settle(self, batch: BegunBatch) -> None:
        del self._waiting[batch.token]
        self._settled.append(batch)
        self._on_settled()
