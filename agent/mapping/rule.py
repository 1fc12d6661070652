"""One rule of a mapping file, ready to be applied. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agent.mapping.template import Template
from agent.protocol.line import GaugeDeltas, Kind, TimerUnit
from agent.wire.metadata import MetricDescription, in_seconds


class RegexError(ValueError):
    """No regular expression, or more than fits the bounds; the text says what is wrong."""


class Regex(msgspec.Struct, frozen=True):
    """A regular expression: its text, the number of its groups, and the numbers of those with names."""

    text: str
    groups: int
    names: Mapping[str, int]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `mappings`, ready to be applied."""

    number: int  # of the entry, from 1
    line: int  # where it stands in the file, from 1
    match: str
    expression: Regex | None = None  # None: `match` is a glob
    kinds: frozenset[Kind] = frozenset(Kind)
    drop: bool = False
    name: Template = ()
    labels: tuple[tuple[str, Template], ...] = ()
    honor_labels: bool = False
    kind: Kind | None = None  # what the type becomes; None: it stays
    scale: float = 1.0
    gauge_deltas: GaugeDeltas | None = None  # None: as the settings say
    timer_unit: TimerUnit | None = None  # None: the file's
    prefix: str = ""  # of the names it is there for
    described: MetricDescription = MetricDescription()

    @property
    def says_seconds(self) -> bool:
        """True if the name or the unit of what it makes is of seconds."""
        last = self.name[-1] if self.name else ""
        return (isinstance(last, str) and in_seconds(last)) or self.described.unit in ("s", "seconds")
