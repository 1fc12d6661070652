"""A channel to the indexer that gets new frames now, of several. For one thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from agent.forward.channel import Answer, Channel
from agent.forward.credentials import Credentials
from agent.settings import ForwardSettings


class SendsBodies(Protocol):
    """Sends bodies to one path of an indexer."""

    def send(self, data: bytes) -> Answer:
        """Make one try, never an exception."""

    def close(self) -> None:
        """Close the connections."""


#: Opens a channel: settings, path, content type, credentials.
OpenChannel = Callable[[ForwardSettings, str, str, Credentials | None], SendsBodies]


class CurrentChannel:
    """Channels by URL; `current` returns the URL of the one to use."""

    def __init__(self, channels: Mapping[str, Channel], current: Callable[[], str]) -> None:
        self._channels = channels
        self._current = current

    def send(self, data: bytes) -> Answer:
        """Make one try, never an exception."""
        return self._channels[self._current()].send(data)

    def close(self) -> None:
        """Close all connections."""
        for channel in self._channels.values():
            channel.close()
