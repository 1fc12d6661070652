"""Splits a byte stream into lines, however the reads cut it: by newlines, or by length prefixes.

A Datadog client sends 4 bytes of length (little-endian) before each payload of lines over a Unix stream
socket (DogStatsD's UDS stream transport); all other clients separate lines by newlines, on any stream.
Payloads are below 64 KiB, so bytes 3 and 4 of such a stream are zero, and no line begins this way:
`UnixSplitter` checks them.

Owns the bounds on unfinished lines and payloads. Pure.
"""

from __future__ import annotations

from typing import Final, Protocol

LENGTH_BYTES: Final = 4
#: Maximum size of a payload with a length prefix.
MAX_PAYLOAD_BYTES: Final = 0xFFFF


class StreamSplitter(Protocol):
    """Collects the reads of one connection."""

    @property
    def too_long(self) -> int:
        """Number of lines and payloads refused for their length."""

    @property
    def broken(self) -> str:
        """Why the connection must be closed (the start of the next payload is lost); empty if it need not."""

    @property
    def pending(self) -> bool:
        """True if there is an unfinished line or payload."""

    def feed(self, data: bytes) -> bytes:
        """Return the whole lines that `data` completed, separated by newlines; b"" if none."""

    def end(self) -> bytes:
        """Return the data completed by an orderly end of the stream; the rest stays `pending`."""


class LineSplitter:
    """Splits by newlines; lines beyond `max_line_bytes` are left out, and the rest continues."""

    broken: Final = ""

    def __init__(self, max_line_bytes: int) -> None:
        self._max = max_line_bytes
        # The unfinished line. Not a list of parts: each would cost more than its two or three bytes.
        self._held = bytearray()
        self._skipping = False  # within a line that is too long
        self.too_long = 0

    @property
    def pending(self) -> bool:
        """True if there is a line without a newline."""
        return bool(self._held)

    def feed(self, data: bytes) -> bytes:
        """Return the lines that `data` completed, separated by newlines; b"" if none."""
        done, newline, tail = data.rpartition(b"\n")
        if newline:
            done = self._end_line(done)
        self._keep(tail)
        return done

    def end(self) -> bytes:
        """Return the last line of the stream, if it had no newline."""
        last = bytes(self._held)
        self._clear()
        return last

    def _end_line(self, done: bytes) -> bytes:
        if self._skipping:
            _, _, done = done.partition(b"\n")
        elif self._held:
            done = bytes(self._held) + done
        self._clear()
        return done

    def _keep(self, tail: bytes) -> None:
        if self._skipping or not tail:
            return
        if len(self._held) + len(tail) > self._max:
            self._clear()
            self._skipping = True
            self.too_long += 1
        else:
            self._held += tail

    def _clear(self) -> None:
        self._held.clear()
        self._skipping = False


class PayloadSplitter:
    """Splits payloads with a length prefix. Only whole payloads are passed on."""

    def __init__(self) -> None:
        self._held = bytearray()  # the unfinished payload, with its length prefix
        self._wanted = LENGTH_BYTES  # bytes needed before parsing is worthwhile
        self.too_long = 0
        self.broken = ""

    @property
    def pending(self) -> bool:
        """True if there is an unfinished payload."""
        return bool(self._held)

    def feed(self, data: bytes) -> bytes:
        """Return the payloads that `data` completed, separated by newlines."""
        if self.broken:
            return b""
        self._held += data
        if len(self._held) < self._wanted:
            return b""
        at, done = 0, list[bytes]()
        held = bytes(self._held)
        while True:
            start = at + LENGTH_BYTES
            length = int.from_bytes(held[at:start], "little")
            if start > len(held) or start + length > len(held):
                break
            done.append(held[start : start + length])
            at = start + length
        self._wanted = LENGTH_BYTES + (length if start <= len(held) else 0)
        del self._held[:at]
        if self._wanted > LENGTH_BYTES + MAX_PAYLOAD_BYTES:
            self.too_long += 1
            self.broken = "length_of_payload"
            self._held.clear()
        return b"\n".join(done)

    def end(self) -> bytes:
        """Return nothing: an unfinished payload is not whole."""
        return b""


class UnixSplitter:
    """Splits either kind of stream, chosen by its first four bytes."""

    def __init__(self, max_line_bytes: int) -> None:
        self._lines = LineSplitter(max_line_bytes)
        self._framer: StreamSplitter | None = None
        self._first = b""

    @property
    def too_long(self) -> int:
        """Number of lines and payloads refused for their length."""
        return self._framer.too_long if self._framer else 0

    @property
    def broken(self) -> str:
        """Why the connection must be closed; empty if it need not."""
        return self._framer.broken if self._framer else ""

    @property
    def pending(self) -> bool:
        """True if there is an unfinished line or payload."""
        return self._framer.pending if self._framer else bool(self._first)

    def feed(self, data: bytes) -> bytes:
        """Return the whole lines that `data` completed, separated by newlines."""
        if self._framer is None:
            data = self._first + data
            if len(data) < LENGTH_BYTES:
                self._first = data
                return b""
            self._framer = self._lines if data[2:LENGTH_BYTES] != b"\0\0" else PayloadSplitter()
        return self._framer.feed(data)

    def end(self) -> bytes:
        """Return the data completed by an orderly end of the stream."""
        if self._framer is None:
            self._framer = self._lines
            return self._first
        return self._framer.end()
