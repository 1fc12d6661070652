"""What is written exactly once: one frame and its name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from agent.frame import Frame
from indexer.series import U64s


@dataclass(frozen=True)
class Unit:
    """A checked frame with the bytes it came as.

    `given_ids`: strings of the frame (by index) that stand for ids the sender already knew. The same
    `identity` always comes with the same `body` and `given_ids`. `digest` is of the bytes that the client
    sent; empty where they are not known any more.
    """

    identity: str
    body: bytes
    frame: Frame
    given_ids: Mapping[int, int] = field(default_factory=dict)
    digest: bytes = b""

    @cached_property
    def held_bytes(self) -> int:
        """About what it holds in memory while it waits."""
        return len(self.body) + 32 * self.frame.rows + 64 * len(self.frame.strings)

    def with_given(self, ids: U64s) -> U64s:
        """The ids of the frame's strings, the given ones put in."""
        if not self.given_ids:
            return ids
        out = ids.copy()
        out[np.fromiter(self.given_ids, np.int64)] = np.fromiter(self.given_ids.values(), np.uint64)
        return out
