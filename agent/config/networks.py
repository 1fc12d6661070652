"""Networks that lines may come from: `10.0.0.0/8`, `2001:db8::/32`, or one address.

Owns parsing and address tests. IPv4 is mapped to IPv6 (`::ffff:10.0.0.0`), so one list serves both, and
sockets that accept both; `::/0` matches everything. Imported only where such a list is set. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

MAX_NETWORKS: Final = 256
#: Senders whose result is cached.
_MAX_REMEMBERED: Final = 4_096
_MAPPED: Final = 0xFFFF << 32
_ALL: Final = (1 << 128) - 1
_BYTES: Final = 16


class Networks:
    """A list of networks. Raises ValueError for texts that are not networks."""

    def __init__(self, texts: Sequence[str]) -> None:
        if len(texts) > MAX_NETWORKS:
            raise ValueError(f"{len(texts)} networks: at most {MAX_NETWORKS} are accepted")
        self._networks = [_network(text) for text in texts]
        self._known: dict[str, bool] = {}

    @property
    def packed(self) -> bytes:
        """For each network 16 bytes of address and 16 of mask, big-endian."""
        return b"".join(number.to_bytes(_BYTES, "big") for network in self._networks for number in network)

    def allow(self, host: str) -> bool:
        """Return whether an address, as Python's sockets write it, is in a network."""
        known = self._known.get(host)
        if known is None:
            address = _number(ip_address(host.partition("%")[0]))
            known = any(address & mask == network for network, mask in self._networks)
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[host] = known
        return known


def _network(text: str) -> tuple[int, int]:
    """Return address and mask in IPv6 form. Raises ValueError."""
    try:
        network = ip_network(text)
    except ValueError as e:
        raise ValueError(f"{text!r} is not a network ({e}): expected 10.0.0.0/8 or 2001:db8::/32") from None
    host_bits = network.max_prefixlen - network.prefixlen
    mask = _ALL >> host_bits << host_bits
    address = network.network_address
    return _number(address), mask


def _number(address: IPv4Address | IPv6Address) -> int:
    return int(address) | (_MAPPED if address.version == 4 else 0)
