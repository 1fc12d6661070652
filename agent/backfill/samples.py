"""Results of converting one line of a file: samples with a time, and lines left out with the reason.

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
    """A line, or a part of one, that adds nothing; `bad` if something is wrong with it."""

    reason: str
    bad: bool = True


#: Reason for samples whose time is later than accepted.
IN_THE_FUTURE: Final = "in_the_future"


class Converter(Protocol):
    """Converts the lines of one file in their order."""

    def convert(self, line: bytes, aggregator: Aggregator) -> Iterable[Sample | LeftOut]:
        """Convert a line without its newline; the samples are for this aggregator."""

    def end(self) -> Iterable[LeftOut]:
        """Return the faults found at the end of the file."""
