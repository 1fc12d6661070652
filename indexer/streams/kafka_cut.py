"""The record of a batch that was cut, and may be stored, with a partition's committed position. Pure.

The position is the batch's first offset, its metadata (which the broker keeps with it) the rest. The metadata
of a position past a stored batch is empty.
"""

from __future__ import annotations

from typing import Final

import msgspec

from indexer.streams.reading_rules import ReadingRules

#: Brokers keep at most this many bytes (offset.metadata.max.bytes).
MAX_METADATA_BYTES: Final = 4_096


class KafkaCut(msgspec.Struct, frozen=True):
    """A batch of the offsets `first` to `last`, both included, read as of `at_ms` by the `rules`."""

    first: int
    last: int
    at_ms: int
    rules: ReadingRules

    def key(self, group: str, topic: str, partition: int) -> str:
        """Return the name of its messages for ever; the time tells topics of one name apart."""
        return f"kafka/{group}/{topic}/{partition}/{self.first}/{self.last}/{self.at_ms}"


def metadata_of(cut: KafkaCut) -> str:
    """Return the metadata that records a cut."""
    return msgspec.json.encode(cut).decode()


def cut_of(offset: int, metadata: str | None) -> KafkaCut | None:
    """Return the cut that a committed position records; None if it has none, or one of other offsets."""
    try:
        cut = msgspec.json.decode(metadata or "", type=KafkaCut)
    except (msgspec.DecodeError, ValueError):
        return None
    return cut if cut.first == offset <= cut.last else None
