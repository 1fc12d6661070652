"""Clients by the series that they were the first to send: a bounded table, for /debug/top. Pure.

The definition of agent/core/_native/clients.pxi: Space-Saving (Metwally, Agrawal and El Abbadi, 2005). A
client that finds the table full takes the place of the one with the fewest, and its count, which is noted as
its error. So a client with more than a 128th of all series is always in the table.
"""

from __future__ import annotations

from typing import Final

import msgspec

#: Clients in the table.
MAX_CLIENTS: Final = 128
#: The address of lines that come from no network: a Unix socket.
NO_CLIENT: Final = bytes(16)


class TopClient(msgspec.Struct):
    """A client's address as 16 bytes of IPv6, its series, and how many of them may be others'."""

    address: bytes
    series: int
    error: int


class TopClients:
    """Counts."""

    def __init__(self) -> None:
        self._clients: list[TopClient] = []

    def count(self, address: bytes, series: int, error: int = 0) -> None:
        """Count series of a client."""
        for client in self._clients:
            if client.address == address:
                client.series += series
                client.error += error
                return
        if len(self._clients) < MAX_CLIENTS:
            self._clients.append(TopClient(address, series, error))
            return
        fewest = min(self._clients, key=lambda client: client.series)  # the first of equals
        fewest.address, fewest.error = address, fewest.series + error
        fewest.series += series

    def top(self, count: int) -> list[TopClient]:
        """Return the clients with the most series."""
        return sorted(self._clients, key=lambda client: (-client.series, client.address))[:count]
