"""Refuses changing requests that come from foreign web pages.

A browser sends requests of any page to any address that its machine reaches. It says so in `Origin` or
`Sec-Fetch-Site`, which pages cannot change. Pages of the same host, of this machine and of `allowed_hosts`
may write. On a loopback listener the `Host` header must also name this machine or an allowed host: a page may
come from a name of its own that resolves to 127.0.0.1 (DNS rebinding). Messages must declare JSON: a browser
asks first before it sends that type to another host, and no answer allows it.

Owns these rules. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final, Protocol
from urllib.parse import urlsplit

JSON: Final = "application/json"
_OWN: Final = frozenset({"localhost", "127.0.0.1", "::1"})
#: Values of Sec-Fetch-Site for requests of a user, or of a page of the same host.
_NOT_FOREIGN: Final = frozenset({"none", "same-origin"})


class Headers(Protocol):
    """The headers of a request, names in any case (multidict's CIMultiDict fits)."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]:
        """Return all values of a header, or `default`."""


class WebPageRules:
    """The rules of one listener; `host` is its address."""

    def __init__(self, host: str, allowed_hosts: Sequence[str]) -> None:
        self._allowed = _OWN | {name.lower().strip("[]") for name in allowed_hosts}
        self._checks_host = bool(allowed_hosts) or _is_own(host.strip("[]"))

    def refusal(self, headers: Headers) -> str | None:
        """Return why a changing request is refused, or None."""
        origins = headers.getall("Origin", ())
        sites = headers.getall("Sec-Fetch-Site", ())
        if not origins and set(sites) <= {"none"}:
            return None  # not from a page
        hosts = headers.getall("Host", ())
        host = _name(f"//{hosts[0]}") if len(hosts) == 1 else None
        if self._checks_host and not self._allows(host):
            return "Host: a web page may write to localhost and the names in http.allowed_hosts only"
        if len(origins) == 1:
            same = len(hosts) == 1 and _place(origins[0]) == hosts[0].lower()
            if same or self._allows(_name(origins[0])):
                return None
        elif not origins and set(sites) <= _NOT_FOREIGN:
            return None
        return (
            "Origin: a web page of another host may not write; http.allowed_hosts lists hosts whose pages may"
        )

    def _allows(self, name: str | None) -> bool:
        return name is not None and (name in self._allowed or _is_own(name))


def is_json(headers: Headers) -> bool:
    """Return whether the body's type is given exactly once, as JSON."""
    types = headers.getall("Content-Type", ())
    return len(types) == 1 and types[0].partition(";")[0].strip().lower() == JSON


def _is_own(name: str) -> bool:
    if name in _OWN or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _name(url: str) -> str | None:
    """Return the host of a URL without its port, or None."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".") or None
    except ValueError:
        return None


def _place(origin: str) -> str | None:
    """Return `host:port` of an origin as a Host header has it, or None."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
