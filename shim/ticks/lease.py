"""Leases: which process works on a key. A lease saves work; it does not make writes unique.

A process that was stopped for a while may still believe in its lease. So results are written under an
identity that is the same in every process.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class Lease(Protocol):
    """Leases on keys. None of its methods raises because a server is away: then no lease is held."""

    async def hold(self, keys: Collection[str], *, balanced: bool = False) -> frozenset[str]:
        """Take or renew the leases of `keys`; return those that this process holds.

        `balanced`: ask for this process's share of them where another process holds more than its own.
        """

    def wanted(self) -> frozenset[str]:
        """Return the keys held here that are another process's share, which asks for them."""

    async def hand_over(self, keys: Collection[str]) -> None:
        """Give up wanted keys, and leave them to the other process for a while."""

    def holds(self, key: str) -> bool:
        """Return whether the lease of `key` is still valid, without asking anyone."""

    async def release(self, keys: Collection[str]) -> None:
        """Give up leases, so that another process can take them at once."""

    async def close(self) -> None:
        """Release all leases and close connections."""


class SoleEvaluator:
    """The leases of the only evaluator: it holds every key."""

    async def hold(self, keys: Collection[str], *, balanced: bool = False) -> frozenset[str]:
        """Return all keys."""
        del balanced
        return frozenset(keys)

    def wanted(self) -> frozenset[str]:
        """Return none."""
        return frozenset()

    async def hand_over(self, keys: Collection[str]) -> None:
        """Do nothing."""

    def holds(self, key: str) -> bool:
        """Return True."""
        del key
        return True

    async def release(self, keys: Collection[str]) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""
