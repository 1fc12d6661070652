"""Lines out of a byte stream, whatever the reads were: parted by newlines, or in payloads with a length.

A Datadog client sends 4 bytes of length (little-endian) before each payload of lines over a Unix stream
socket (DogStatsD's UDS stream transport); every other client parts lines by newlines, on any stream. Payloads
are below 64 KiB, so bytes 3 and 4 of such a stream are zero, and no line begins so: `UnixSplitter` looks
there.

Owns the bounds on what has not ended yet. Pure.
"""

from __future__ import annotations

from typing import Final, Protocol

LENGTH_BYTES: Final = 4
#: The longest payload with its length in front.
MAX_PAYLOAD_BYTES: Final = 0xFFFF


class StreamSplitter(Protocol):
    """Collects reads of one connection."""

    @property
    def too_long(self) -> int:
        """Lines and payloads refused because of their length."""

    @property
    def broken(self) -> str:
        """Why the connection is to be closed, or nothing (where a payload begins is lost)."""

    @property
    def pending(self) -> bool:
        """True if something has begun that has not ended."""

    def feed(self, data: bytes) -> bytes:
        """The whole lines that `data` completed, parted by newlines; b"" if none."""

    def end(self) -> bytes:
        """At an orderly end of the stream: what counts as whole by that. Else it stays `pending`."""


class LineSplitter:
    """Lines parted by newlines, of at most `max_line_bytes`; a longer one is left out, the rest goes on."""

    broken: Final = ""

    def __init__(self, max_line_bytes: int) -> None:
        self._max = max_line_bytes
        # Of the line that has not ended. No list of parts: each would cost more than its two or three bytes.
        self._held = bytearray()
        self._skipping = False  # within a line that is too long
        self.too_long = 0

    @property
    def pending(self) -> bool:
        """True if there is a line without a newline."""
        return bool(self._held)

    def feed(self, data: bytes) -> bytes:
        """The lines that ended with `data`, parted by newlines; b"" if none did."""
        done, newline, tail = data.rpartition(b"\n")
        if newline:
            done = self._end_line(done)
        self._keep(tail)
        return done

    def end(self) -> bytes:
        """At the end of the stream: the last line, if it had no newline."""
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
    """Payloads of lines, each with its length in front. Only whole payloads are handed on."""

    def __init__(self) -> None:
        self._held = bytearray()  # from the length of a payload on that has not ended
        self._wanted = LENGTH_BYTES  # bytes held before it is worth to look
        self.too_long = 0
        self.broken = ""

    @property
    def pending(self) -> bool:
        """True if a payload has begun that has not ended."""
        return bool(self._held)

    def feed(self, data: bytes) -> bytes:
        """The payloads that ended with `data`, parted by newlines."""
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
        """Nothing: a payload that was cut off is not whole."""
        return b""


class UnixSplitter:
    """Of either kind, as the first four bytes say."""

    def __init__(self, max_line_bytes: int) -> None:
        self._lines = LineSplitter(max_line_bytes)
        self._framer: StreamSplitter | None = None
        self._first = b""

    @property
    def too_long(self) -> int:
        """Lines and payloads refused because of their length."""
        return self._framer.too_long if self._framer else 0

    @property
    def broken(self) -> str:
        """Why the connection is to be closed, or nothing."""
        return self._framer.broken if self._framer else ""

    @property
    def pending(self) -> bool:
        """True if something has begun that has not ended."""
        return self._framer.pending if self._framer else bool(self._first)

    def feed(self, data: bytes) -> bytes:
        """The whole lines that `data` completed, parted by newlines."""
        if self._framer is None:
            data = self._first + data
            if len(data) < LENGTH_BYTES:
                self._first = data
                return b""
            self._framer = self._lines if data[2:LENGTH_BYTES] != b"\0\0" else PayloadSplitter()
        return self._framer.feed(data)

    def end(self) -> bytes:
        """What counts as whole by an orderly end."""
        if self._framer is None:
            self._framer = self._lines
            return self._first
        return self._framer.end()
