"""Results of reading one line of a file: samples with a time, and lines that give none, with the reason.

Owns the interface of the converters, one per format. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from agent.aggregate.aggregator import Aggregator
from agent.protocol.line import Line


class Sample(msgspec.Struct, frozen=True):
    """A parsed line and its own time (Unix milliseconds)."""

    line: Line
    time_ms: int


class LeftOut(msgspec.Struct, frozen=True):
    """A line, or a part of one, that adds nothing; `bad`: because something is wrong with it."""

    reason: str
    bad: bool = True


#: Why a sample is left out whose time is later than the run may have.
IN_THE_FUTURE: Final = "in_the_future"


class Converter(Protocol):
    """Reads the lines of one file in their order."""

    def convert(self, line: bytes, aggregator: Aggregator) -> Iterable[Sample | LeftOut]:
        """Read a line without its newline; the samples are for this aggregator."""

    def end(self) -> Iterable[LeftOut]:
        """Return the faults of the end of the file."""
