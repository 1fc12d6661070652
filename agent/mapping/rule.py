"""One rule of a mapping file, ready to be applied. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agent.mapping.template import Template
from agent.protocol.line import GaugeDeltas, Kind, TimerUnit
from agent.wire.metadata import MetricDescription, in_seconds


class RegexError(ValueError):
    """A text that is not a regular expression, or exceeds the bounds; the text names the problem."""


class Regex(msgspec.Struct, frozen=True):
    """A regular expression: its text, its number of groups, and the numbers of its named groups."""

    text: str
    groups: int
    names: Mapping[str, int]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `mappings`, ready to be applied."""

    number: int  # of the entry, from 1
    line: int  # its line in the file, from 1
    match: str
    expression: Regex | None = None  # None: `match` is a glob
    kinds: frozenset[Kind] = frozenset(Kind)
    drop: bool = False
    name: Template = ()
    labels: tuple[tuple[str, Template], ...] = ()
    honor_labels: bool = False
    kind: Kind | None = None  # the new type; None: unchanged
    scale: float = 1.0
    gauge_deltas: GaugeDeltas | None = None  # None: as the settings say
    timer_unit: TimerUnit | None = None  # None: the file's
    prefix: str = ""  # of the names it applies to
    described: MetricDescription = MetricDescription()
    ttl_s: float | None = None  # of exposed series, 0: for ever; None: the file's

    @property
    def says_seconds(self) -> bool:
        """Whether the resulting name or unit indicates seconds."""
        last = self.name[-1] if self.name else ""
        return (isinstance(last, str) and in_seconds(last)) or self.described.unit in ("s", "seconds")
