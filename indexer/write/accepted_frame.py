"""The unit of exactly-once writing: one frame and its name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from agent.wire.frame import Frame
from indexer.clickhouse.retention import Retention
from indexer.intern.series import U64s
from indexer.write.frame_to_columns import DAY_S

#: A frame that holds more is heavy: to write it keeps a thread, and Python, busy for long.
_HEAVY_BYTES: Final = 4 << 20


@dataclass(frozen=True)
class AcceptedFrame:
    """A checked frame with the bytes it came as.

    `given_ids`: strings of the frame (by index) that represent ids the sender already knew. The same
    `identity` always comes with the same `body` and `given_ids`. `frame` is the decoded `body`, except for
    `retention_days`, which may be rounded. `digest` is that of the bytes that the client sent; empty if they
    are no longer known. `kept`: the maximum retention of its rows; None: decided before migration 5. `hop`:
    how often it was released from one indexer to the next; `lost_hops`: a bit for each earlier hop whose
    journal is lost (indexer/write/frame_claims.py).
    """

    identity: str
    body: bytes
    frame: Frame
    given_ids: Mapping[int, int] = field(default_factory=dict)
    digest: bytes = b""
    kept: Retention | None = None
    hop: int = 0
    lost_hops: int = 0

    @cached_property
    def held_bytes(self) -> int:
        """Approximate bytes held until it is written: as it came, decoded, and as columns of INSERTs."""
        strings = sum(map(len, self.frame.strings)) + 64 * len(self.frame.strings)
        return len(self.body) + 2 * _column_bytes(self.frame) + 32 * self.frame.rows + strings

    @property
    def heavy(self) -> bool:
        """Whether others should not wait for its INSERT."""
        return self.held_bytes > _HEAVY_BYTES

    @cached_property
    def partitions(self) -> frozenset[tuple[int, int]]:
        """The partitions of its rows in the finest table: retention and day."""
        found: set[int] = set()
        for columns in (self.frame.counters, self.frame.gauges, self.frame.distributions, self.frame.sets):
            bucket = np.frombuffer(columns.bucket, "<u4")
            if len(bucket):
                first, last = int(bucket.min()) // DAY_S, int(bucket.max()) // DAY_S
                found.update((first, last) if last - first < 2 else np.unique(bucket // DAY_S).tolist())
        return frozenset((self.frame.retention_days, day) for day in found)

    def with_given(self, ids: U64s) -> U64s:
        """Return the ids of the frame's strings, with the given ones inserted."""
        if not self.given_ids:
            return ids
        out = ids.copy()
        out[np.fromiter(self.given_ids, np.int64)] = np.fromiter(self.given_ids.values(), np.uint64)
        return out


def _column_bytes(frame: Frame) -> int:
    """Return the bytes of all columns; set members and histogram entries are most of them."""
    groups = (frame.series, frame.counters, frame.gauges, frame.distributions, frame.sets)
    return sum(len(getattr(group, name)) for group in groups for name in group.__struct_fields__)
