"""Which of several processes should hold which key: rendezvous hashing. Pure.

A process that joins or leaves moves its own share alone. All processes that see the same members agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import xxhash


@dataclass(frozen=True, slots=True)
class Share:
    """The share of one process, among the members that are alive."""

    own: str
    members: Sequence[str]
    _known: dict[str, bool] = field(default_factory=dict, compare=False)

    def has(self, key: str) -> bool:
        """Return whether a key is of this share; without members none is."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = holder_of(key, self.members) == self.own
        return found


def holder_of(key: str, members: Sequence[str]) -> str | None:
    """Return the member with the highest hash of key and member; None without members."""
    return max(members, key=lambda one: xxhash.xxh64_intdigest(f"{key}\n{one}".encode()), default=None)
