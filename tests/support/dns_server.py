"""A name server over UDP on 127.0.0.1, with the records that a test gives it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


@dataclass(slots=True)
class DnsServer:
    """`records`: texts by name and type, `("am.test.", "A"): ["127.0.0.1"]`; they may change at any time."""

    records: dict[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    address: str = ""
    refuses: bool = False  # every question is answered with SERVFAIL

    def answer(self, question: bytes) -> bytes:
        """Return the answer to a question as bytes."""
        asked = dns.message.from_wire(question)
        made = dns.message.make_response(asked)
        made.flags |= dns.flags.RA
        (wanted,) = asked.question
        name, kind = str(wanted.name), dns.rdatatype.to_text(wanted.rdtype)
        if self.refuses:
            made.set_rcode(dns.rcode.SERVFAIL)
        elif texts := self.records.get((name, kind)):
            made.answer.append(dns.rrset.from_text(wanted.name, 1, "IN", kind, *texts))
        elif not any(known == name for known, _ in self.records):
            made.set_rcode(dns.rcode.NXDOMAIN)
        return made.to_wire()


@contextmanager
def dns_server() -> Iterator[DnsServer]:
    """Serve until the block ends."""
    made = DnsServer()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.1)
        made.address = f"127.0.0.1:{sock.getsockname()[1]}"
        stopped = threading.Event()

        def serve() -> None:
            while not stopped.is_set():
                try:
                    question, sender = sock.recvfrom(4_096)
                except TimeoutError:
                    continue
                sock.sendto(made.answer(question), sender)

        thread = threading.Thread(target=serve, name="dns")
        thread.start()
        try:
            yield made
        finally:
            stopped.set()
            thread.join()
