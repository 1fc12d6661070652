"""Lines out of a byte stream: what came between two newlines, whatever the reads were.

Owns the bound on a line that has not ended yet. Pure.
"""

from __future__ import annotations


class LineFramer:
    """Collects reads of one connection. `too_long` counts the lines that outgrew `max_line_bytes`."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max = max_line_bytes
        self._parts: list[bytes] = []  # of the line that has not ended
        self._size = 0
        self._skipping = False  # within a line that is too long
        self.too_long = 0

    def feed(self, data: bytes) -> bytes:
        """The lines that ended with `data`, parted by newlines; b"" if none did."""
        done, newline, tail = data.rpartition(b"\n")
        if newline:
            done = self._end_line(done)
        self._keep(tail)
        return done

    def end(self) -> bytes:
        """At the end of the stream: the last line, if it had no newline."""
        last = b"".join(self._parts)
        self._clear()
        return last

    def _end_line(self, done: bytes) -> bytes:
        if self._skipping:
            _, _, done = done.partition(b"\n")
        elif self._parts:
            self._parts.append(done)
            done = b"".join(self._parts)
        self._clear()
        return done

    def _keep(self, tail: bytes) -> None:
        if self._skipping or not tail:
            return
        self._parts.append(tail)
        self._size += len(tail)
        if self._size > self._max:
            self._clear()
            self._skipping = True
            self.too_long += 1

    def _clear(self) -> None:
        self._parts.clear()
        self._size = 0
        self._skipping = False
