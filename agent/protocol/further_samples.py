"""Further samples of one name in a line: `name:1|ms:2|ms|@0.5:3|c`. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from agent.protocol.line import Limits
from agent.protocol.line_name import name_bytes


def split_samples(line: bytes, limits: Limits) -> Iterator[bytes]:
    """Yield the lines that a refused line consists of, if it has further samples of its name.

    To be called when `parse_line` returns UNKNOWN_TYPE or BAD_SAMPLE_RATE, so that no good line changes its
    meaning: a `:` in the type or in an `@` field ends a sample, and another sample of the name follows.
    `n:1|ms|@0.5:2|ms:3|c` is `n:1|ms|@0.5`, `n:2|ms` and `n:3|c`. Each is a separate line, counted, accepted
    or refused; none has further samples. Source: etsy stats.js, statsd_exporter (neither allows it with
    `|#`). A line whose name is longer than `max_name_bytes` is not split, as a bound on work.
    """
    front = line.find(b":") + 1
    field = line.find(b"|") + 1
    if not 1 < front < field:
        return
    front = name_bytes(line[: field - 1], line[field:]) + 1
    if front - 1 > limits.max_name_bytes:
        return
    name, start, in_type = line[:front], front, True
    while field:
        end = line.find(b"|", field)
        colon = line.find(b":", field, len(line) if end < 0 else end)
        if colon >= 0 and (in_type or line.startswith(b"@", field)):
            yield name + line[start:colon]
            start, in_type = colon + 1, True
            field = line.find(b"|", start) + 1
        else:
            field, in_type = end + 1, False
    if start > front:
        yield name + line[start:]
