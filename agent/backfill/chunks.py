"""Splits a file into chunks of whole lines, by its bytes alone: no setting, no clock, no state of a run.

A chunk becomes at most one frame, so its number is the number of the frame. Changing these bounds changes
the meaning of identities, so it needs a new epoch in agent/backfill/job.py; files begun before keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

#: Bytes of a chunk; its last line may be larger.
MAX_BYTES: Final = 1 << 20
#: A longer line is skipped in parts of this size; no setting accepts one.
MAX_LINE_BYTES: Final = 1 << 20


class Chunk(msgspec.Struct):
    """Lines without their newlines; None for a line that is too long. `first`: the number of line 0."""

    number: int
    first: int
    lines: list[bytes | None]


def chunks(file: BinaryIO, max_lines: int) -> Iterator[Chunk]:
    """Yield the chunks of a file, numbered from 1, of at most `max_lines`."""
    chunk, size = Chunk(1, 1, []), 0
    for line, length in _lines(file):
        chunk.lines.append(line)
        size += length
        if len(chunk.lines) == max_lines or size >= MAX_BYTES:
            yield chunk
            chunk, size = Chunk(chunk.number + 1, chunk.first + len(chunk.lines), []), 0
    if chunk.lines:
        yield chunk


def _lines(file: BinaryIO) -> Iterator[tuple[bytes | None, int]]:
    """Yield each line, and its length with the newline."""
    while part := file.readline(MAX_LINE_BYTES + 1):
        line: bytes | None = part.removesuffix(b"\n")
        length = len(part)
        while not part.endswith(b"\n") and (part := file.readline(MAX_LINE_BYTES + 1)):
            line = None
            length += len(part)
        yield (None if line is None or len(line) > MAX_LINE_BYTES else line), length
