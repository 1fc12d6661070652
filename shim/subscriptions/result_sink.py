"""Where results of ticks go, other than the table of results."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

from indexer.subscriptions.messages_of_subscriptions import Subscription


class StoredResult(NamedTuple):
    """A row of the table of results. `document`: JSON."""

    tick_s: int
    document: str


class SinkAwayError(Exception):
    """A sink does not answer; the same results are delivered again later."""


class ResultSink(Protocol):
    """Takes the results of a subscription in the order of their ticks.

    `name`: its label in metrics. The methods raise SinkAwayError, StoreError and QueryError.
    """

    name: ClassVar[str]

    def wants(self, of: Subscription) -> bool:
        """Return whether results of the subscription can be delivered now."""

    def keep(self, ids: Collection[str]) -> None:
        """Forget other subscriptions than these."""

    async def positions(self, of: Sequence[Subscription]) -> Mapping[str, int]:
        """Return the last delivered ticks, by the ids of subscriptions."""

    async def deliver(self, of: Subscription, results: Sequence[StoredResult]) -> int | None:
        """Deliver results; return the tick of the last one that is done with, None for none."""

    async def close(self) -> None:
        """Close connections."""
