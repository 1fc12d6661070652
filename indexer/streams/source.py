"""The interface of a stream for its consumer: the next batch, and its commit."""

from __future__ import annotations

from typing import Protocol

from indexer.streams.batch import Batch, StoredBatch
from indexer.write.health import Part


class SourceError(Exception):
    """The server of the stream does not answer, or refuses; the call may be repeated."""


class Source(Protocol):
    """One consumer's view of a stream. Sync: runs in threads. Each call raises SourceError."""

    @property
    def part(self) -> Part:
        """The part of the indexer's health that it is."""

    @property
    def server(self) -> str:
        """The kind of its server: redis or kafka."""

    @property
    def stream(self) -> str:
        """The key of the stream, or the topic."""

    @property
    def group(self) -> str:
        """The consumer group."""

    @property
    def keep_s(self) -> float:
        """How often `keep` is called while a batch is being stored, in seconds."""

    @property
    def poll_s(self) -> float:
        """How long an empty stream is left alone, in seconds."""

    @property
    def max_parked_bytes(self) -> int:
        """The maximum size of a parked frame."""

    def next(self) -> Batch | None:
        """Return the batch that this consumer holds, or a new one, whose stretch is recorded; None for none.

        A batch is held until it is committed, and is the same each time it is read.
        """

    def keep(self, batch: Batch) -> bool:
        """Say that this consumer lives; return whether the batch is still its."""

    def commit(self, batch: Batch, stored: StoredBatch) -> bool:
        """Move the position past a stored batch, with its dead letters, parked frames and commit log.

        Return False if another consumer has the batch.
        """

    def close(self) -> None:
        """Close the connection. Does not raise."""
