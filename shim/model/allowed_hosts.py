"""Which hosts a URL of a tenant may name, so that no tenant reaches servers of the operator's network. Pure.

An entry is `host`, `host:port`, `host:*`, `*.suffix` or `*`, the last two with a port, too. Without a port it
allows the scheme's own. A host that an entry names in full may have any address: the operator chose it. One
that only a pattern with `*` allows must have public addresses, and the connection itself is checked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from shim.model.errors import BadData

MAX_URL_BYTES: Final = 2_048
_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+"
_ENTRY: Final = re.compile(rf"(?P<host>\*|\*\.[A-Za-z0-9_.-]+|{_HOST})(?::(?P<port>\*|[0-9]{{1,5}}))?")
#: Other networks of IPv6 are local to sites, or carry addresses of IPv4 in ways that vary.
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
#: Networks that carry IPv4 addresses inside those of IPv6, in their last four bytes.
_NAT64: Final = bytes.fromhex("0064ff9b0000000000000000")


@dataclass(frozen=True, slots=True)
class _Entry:
    host: str
    port: int | None  # None: the scheme's own; 0: any

    def allows(self, host: str, port: int, scheme: str) -> bool:
        if self.port != 0 and port != (self.port or _PORTS[scheme]):
            return False
        return self.host in ("*", host) or (self.host.startswith("*.") and host.endswith(self.host[1:]))


class AllowedHosts:
    """The entries of a setting. Raises ValueError for one that cannot be read."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._entries = [_entry(text) for text in entries]

    def check(self, url: str) -> None:
        """Raise BadData for a URL that is not allowed."""
        parts = _parsed(url)
        entry = self._find(parts)
        if entry is None:
            raise BadData(
                f'url: host "{_port_of(parts)[0]}" or its port is not allowed: expected an entry in'
                " shim.webhooks.allowed_hosts"
            )
        address = _literal(_port_of(parts)[0])
        if address is not None and "*" in entry.host and not is_public(address):
            raise BadData(f'url: "{address}" is not a public address: expected one')

    def allows_address(self, url: str, address: str) -> bool:
        """Return whether a connection for an allowed URL may go to this address."""
        entry = self._find(_parsed(url))
        return entry is not None and ("*" not in entry.host or is_public(ip_address(address.split("%")[0])))

    def _find(self, parts: SplitResult) -> _Entry | None:
        """Return the entry that allows a URL, one without a pattern before others."""
        host, port = _port_of(parts)
        found = [entry for entry in self._entries if entry.allows(host, port, parts.scheme)]
        return min(found, key=lambda entry: "*" in entry.host, default=None)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is on the public internet, with IPv4 addresses inside IPv6 ones looked at."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.packed.startswith(_NAT64):
            inner = IPv4Address(address.packed[-4:])
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast


def _entry(text: str) -> _Entry:
    found = _ENTRY.fullmatch(text.strip())
    if found is None or ((found["port"] or "").isdigit() and not 1 <= int(found["port"]) <= 65_535):
        raise ValueError(f"{text!r}: expected host, host:port, host:*, *.suffix or *")
    port = found["port"]
    return _Entry(_plain(found["host"]), 0 if port == "*" else int(port) if port else None)


def _plain(host: str) -> str:
    return host.lower().strip("[]").rstrip(".")


def _parsed(url: str) -> SplitResult:
    expected = "expected http://host[:port]/path or https://host[:port]/path"
    if len(url.encode(errors="replace")) > MAX_URL_BYTES:
        raise BadData(f"url: {len(url)} characters: expected at most {MAX_URL_BYTES} bytes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadData(f"url: {expected}") from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0 or not url.isprintable() or " " in url:
        raise BadData(f"url: {expected}")
    if "@" in parts.netloc:
        raise BadData(f"url: it has a user: {expected}, which is signed instead")
    if "\\" in url or re.fullmatch(_HOST, _bracketed(parts.hostname)) is None:
        raise BadData(f"url: its host cannot be read: {expected}")
    return parts


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _port_of(parts: SplitResult) -> tuple[str, int]:
    return _plain(parts.hostname or ""), parts.port or _PORTS[parts.scheme]


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
