"""StatsD lines of a file: the agent's own grammar and mapping, with a `|T` on every line. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.aggregate.aggregator import Aggregator
from agent.backfill.samples import LeftOut, Sample
from agent.protocol.line import BadLine, Line, Skip


class StatsdConverter:
    """Converts lines like the agent; a line without `|T` is bad, since it has no arrival time."""

    def convert(self, line: bytes, aggregator: Aggregator) -> Iterator[Sample | LeftOut]:
        """Parse a line with the mapping."""
        for parsed in aggregator.parse(line):
            if isinstance(parsed, BadLine):
                yield LeftOut(parsed.reason.value)
            elif isinstance(parsed, Line):
                if parsed.time_s is None:
                    yield LeftOut("no_timestamp")
                else:
                    yield Sample(parsed, parsed.time_s * 1000)
            elif parsed is not Skip.EMPTY:
                yield LeftOut(parsed.value, bad=False)

    def end(self) -> Iterable[LeftOut]:
        """Return nothing: the format has no end."""
        return ()
