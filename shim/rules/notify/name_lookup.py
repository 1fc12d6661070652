"""Names of Alertmanagers in DNS: addresses (A and AAAA), and the hosts and ports of services (SRV).

Addresses are asked of the system, with its /etc/hosts, or of one name server. The system knows no services,
so those are asked with dnspython, which is imported when they are wanted. Blocks: call it in a thread.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from agent.config.host_port import parse_host_port

if TYPE_CHECKING:
    from dns.resolver import Answer, Resolver

#: Seconds for one question, with its repetitions.
_LIFETIME_S: Final = 5.0


class NameLookup:
    """Asks the name server `host:port`; empty: those of the system. Its methods raise OSError."""

    def __init__(self, server: str = "") -> None:
        self._server = server

    def addresses(self, host: str, port: int) -> list[str]:
        """Return the IPv4 and IPv6 addresses of a name, in order."""
        if not self._server:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return sorted({str(one[4][0]) for one in found})
        answers = [self._ask(host, kind, may_lack=True) for kind in ("A", "AAAA")]
        addresses = sorted({str(record) for answer in answers if answer is not None for record in answer})
        if not addresses:
            raise OSError(f"{host}: no A nor AAAA record")
        return addresses

    def services(self, name: str) -> list[tuple[str, int]]:
        """Return the hosts and ports of a service, the ones to prefer first."""
        answer = self._ask(name, "SRV", may_lack=False)
        assert answer is not None
        records = sorted(answer, key=lambda one: (one.priority, -one.weight, str(one.target), one.port))
        return [(str(one.target).rstrip("."), one.port) for one in records if str(one.target) != "."]

    def _ask(self, name: str, kind: str, *, may_lack: bool) -> Answer | None:
        """Return the records of a kind; None if there are others alone and it `may_lack` them."""
        from dns.exception import DNSException
        from dns.resolver import NoAnswer

        try:
            return self._resolver().resolve(name, kind, lifetime=_LIFETIME_S, search=not self._server)
        except NoAnswer as e:
            if may_lack:
                return None
            raise OSError(str(e)) from None
        except DNSException as e:
            raise OSError(str(e)) from None

    def _resolver(self) -> Resolver:
        from dns.resolver import Resolver

        if not self._server:
            return Resolver()
        made = Resolver(configure=False)
        host, made.port = parse_host_port(self._server, 1)
        made.nameservers = [host]
        return made
