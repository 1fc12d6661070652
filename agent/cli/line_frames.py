"""Frames of lines that arrive at given times, as an agent makes them: for unit tests of rules. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Final

from agent.aggregate.aggregator import Aggregator
from agent.cli.explain import WORDS
from agent.core.frame_builder import build_frames
from agent.protocol.line import Reason, Skip
from agent.wire.frame import Sender, encode

#: Lines whose rows share frames: no bucket of a later one is older.
_LINES: Final = 10_000
_MAX_ROWS: Final = 5_000
_MAX_BYTES: Final = 4 << 20


class LineError(ValueError):
    """An agent refuses a line."""


def line_frames(lines: Iterable[tuple[int, str]], sender: Sender) -> Iterator[bytes]:
    """Yield the frames of lines with their times in Unix milliseconds, ascending. Raises LineError."""
    aggregator, numbers = Aggregator(), itertools.count(1)
    left = iter(lines)
    while some := list(itertools.islice(left, _LINES)):
        for at_ms, line in some:
            _add(aggregator, line, at_ms)
        last_ms = some[-1][0]
        flushed = aggregator.flush_all(last_ms)
        for frame in build_frames(
            flushed, sender, numbers, last_ms, max_rows=_MAX_ROWS, max_bytes=_MAX_BYTES
        ):
            yield encode(frame)


def _add(aggregator: Aggregator, line: str, at_ms: int) -> None:
    stats = aggregator.stats
    bad, skipped = stats.bad.copy(), stats.skipped.copy()
    aggregator.add(line.encode(), at_ms)
    found: list[Reason | Skip] = [*(stats.bad - bad), *(stats.skipped - skipped)]
    for reason in found:
        raise LineError(f"{line!r}: {WORDS[reason]}: expected a line of StatsD")
