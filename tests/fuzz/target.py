"""The target of the fuzzer: native cores under different settings, each with a clock of its own.

Owns the meaning of an input's first byte: bits 0-2 the core, bits 3-5 how much time passes, bits 6-7 the
step after its packets. State stays between inputs, as in an agent; all cores are replaced after some
thousands of them, so that closing one is tried, too. Finds all that a sanitizer sees, and frames that cannot
be decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agent.core.interface import Core
from agent.mapping.config_file import parse
from agent.protocol.line import Limits
from agent.settings import AgentSettings, AggregateSettings
from tests.support.cores.rows import new_core, take_rows
from tests.support.cores.scenario import MAPPING, START_MS

_SMALL: Final = Limits(max_line_bytes=64, max_name_bytes=8, max_tags=2, max_tag_bytes=8)
_STYLES: Final = Limits(name_tags=("influx", "librato", "signalfx"))
_TIGHT: Final = AggregateSettings(max_entries=50, max_series=20, gauge_memory_s=1, lateness_s=20, future_s=0)
#: Settings, and whether a mapping applies.
KINDS: Final = (
    (AgentSettings(), False),
    (AgentSettings(lines=_SMALL), False),
    (AgentSettings(lines=_STYLES), False),
    (AgentSettings(aggregate=_TIGHT), False),
    (AgentSettings(lines=_STYLES, tags={"k": "static", "pod": "p-1"}), False),
    (AgentSettings(aggregate=AggregateSettings(max_series=64), lines=Limits(max_tags=0)), False),
    (AgentSettings(lines=_STYLES, aggregate=_TIGHT), True),
    (AgentSettings(tags={"a": "static"}), True),
)
_PAUSES_MS: Final = (0, 0, 1, 250, 3_000, 11_000, -7_000, 4_000_000)
#: Inputs after which all cores are replaced.
LIFE: Final = 20_000
#: One in this number of inputs that ask for a flush or for frames gets it: they take longer than a packet.
FLUSH_ONE_IN: Final = 4
FRAMES_ONE_IN: Final = 64
#: Packets of one input: itself, and the mutants of driver.c.
PACKETS: Final = 32


class Target:
    """Takes one input per call."""

    def __init__(self) -> None:
        self._taken = 0
        self._renew()

    def _renew(self) -> None:
        self._cores = [_open(settings, mapped) for settings, mapped in KINDS]
        self._now_ms = [START_MS] * len(KINDS)

    def take(self, how: int, packets: list[bytes]) -> None:
        """Return the packets of one input; `how`: see the module's text."""
        which = how & 7
        core = self._cores[which]
        self._now_ms[which] += _PAUSES_MS[how >> 3 & 7]
        now_ms = self._now_ms[which]
        for packet in packets:
            core.add(packet, now_ms)
        self._taken += 1
        match how >> 6:
            case 1 if self._taken % FLUSH_ONE_IN == 0:
                core.flush(now_ms)
            case 2 if self._taken % FLUSH_ONE_IN == 0:
                core.flush_all(now_ms)
            case 3 if self._taken % FRAMES_ONE_IN == 0:
                take_rows(core, max_rows=50, max_bytes=4_096)
        if self._taken % LIFE == 0:
            self._renew()


def _open(settings: AgentSettings, mapped: bool) -> Core:
    return new_core("native", settings, parse(MAPPING).mapper(settings.lines) if mapped else None)


def open_target() -> Callable[[int, list[bytes]], None]:
    """Entry point for driver.c."""
    return Target().take
