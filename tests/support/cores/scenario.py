"""A scenario: an agent's settings, and the events of its core, step by step; and its outcome.

Two cores agree when their outcomes are equal: the rows of all frames bit for bit, in their order, and the
counters after each flush. `shrink` takes away every step that a difference does not need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any, Final, Literal

import msgspec

from agent.aggregate.last_values import decode
from agent.mapping.config_file import parse
from agent.mapping.mapper import Mapper
from agent.mapping.rule import Rule
from agent.protocol.line import GaugeDeltas, Limits
from agent.protocol.line_name import NameTags
from agent.settings import AgentSettings, AggregateSettings
from tests.support.cores.packets import PacketMaker
from tests.support.cores.rows import counters, new_core, take_rows

START_MS: Final = 1_700_000_000_000


class Step(msgspec.Struct, frozen=True):
    """One call of the core; for `frames` all frames are taken, for `restart` another core goes on.

    For `remap` the mapping file changes, if there is one.
    """

    what: Literal["add", "flush", "flush_all", "frames", "restart", "remap"]
    now_ms: int = 0
    data: bytes = b""


class Scenario(msgspec.Struct, frozen=True):
    """All that an outcome depends on."""

    settings: AgentSettings
    mapped: bool
    steps: tuple[Step, ...]

    @property
    def packets(self) -> int:
        """How many packets it holds."""
        return sum(step.what == "add" for step in self.steps)


#: A rule of each kind: drops, renames, labels new or instead of a tag, scales, units, types, names that meet.
MAPPING: Final = """
mappings:
- {match: "drop.*", action: drop}
- {match: b, name: mapped.b, labels: {from: b, a: ""}, scale: 0.1, timer_unit: s}
- {match: a.b, match_metric_type: counter, metric_type: gauge, name: a.b}
- {match: ä, name: ä, gauge_deltas: plus}
- {match: "x+", match_type: regex, name: a, labels: {k: "$0"}, honor_labels: true, timer_unit: ms}
"""
#: The file after a change: each rule of the former is gone or means something else.
CHANGED: Final = """
mappings:
- {match: "drop.*", name: kept, labels: {n: $1}}
- {match: b, action: drop}
- {match: a.b, match_metric_type: counter, metric_type: distribution, name: b}
- {match: ä, name: ä, gauge_deltas: never, scale: 2}
- {match: "x+", match_type: regex, name: mapped.b}
"""
_DELTAS: Final[tuple[GaugeDeltas, ...]] = ("auto", "auto", "signed", "signed", "plus", "never")


@cache
def _rules(text: str) -> tuple[Rule, ...]:
    return parse(text).rules


def outcome(core: str, scenario: Scenario) -> list[Any]:
    """Run a scenario, and return the results of one core."""
    limits = scenario.settings.lines
    mappers = [Mapper(_rules(text), limits) for text in (MAPPING, CHANGED)] if scenario.mapped else []
    for mapper in mappers[1:]:
        mapper.follow(mappers[0])
    return [*_outcome(core, scenario, mappers), mappers[0].counts() if mappers else None]


def _outcome(name: str, scenario: Scenario, mappers: list[Mapper]) -> Iterator[Any]:
    mapper = mappers[0] if mappers else None
    core = new_core(name, scenario.settings, mapper)
    for step in scenario.steps:
        match step.what:
            case "add":
                core.add(step.data, step.now_ms)
                continue
            case "flush":
                yield "flush", step.now_ms, core.flush(step.now_ms), core.live_series
            case "flush_all":
                yield "flush_all", step.now_ms, core.flush_all(step.now_ms), core.live_series
            case "frames":
                yield "rows", take_rows(core, max_rows=7)
            case "remap":
                if mapper is not None:
                    mapper = mappers[1] if mapper is mappers[0] else mappers[0]
                    core.remap(mapper)
            case "restart":
                core.flush_all(step.now_ms)
                yield "rows", take_rows(core)
                values = core.export_last_values(step.now_ms)
                yield "last values", decode(values, 0, 1 << 62)
                core.close()
                core = new_core(name, scenario.settings, mapper)
                core.import_last_values(values, step.now_ms)
        yield counters(core)
    core.flush_all(START_MS)
    yield "rows", take_rows(core)
    yield counters(core)
    core.close()


def make(seed: int, steps: int = 24) -> Scenario:
    """Return the scenario of a seed, with about `steps` steps."""
    r = Random(seed)
    maker = PacketMaker(r)
    now_ms = START_MS + r.randrange(20_000)
    out = []
    for _ in range(steps):
        now_ms = max(now_ms + _pause_ms(r), 1)
        match r.randrange(10):
            case 0:
                out.append(Step("flush" if r.random() < 0.7 else "restart", now_ms))
            case 1:
                out.append(Step("flush_all" if r.random() < 0.4 else "frames", now_ms))
            case _:
                out.append(Step("add", now_ms, maker.packet(now_ms)))
    settings, mapped = _settings(r), r.random() < 0.15
    unlimited = settings.aggregate.max_metric_series > 5  # else it counts when a series is forgotten
    if mapped and unlimited:  # after all else, so that the other steps of a seed stay
        for _ in range(r.randrange(4)):
            at = r.randrange(1, len(out))
            out.insert(at, Step("remap", out[at - 1].now_ms))
    return Scenario(settings, mapped, tuple(out))


def _pause_ms(r: Random) -> int:
    kind = r.random()
    if kind < 0.3:
        return 0
    if kind < 0.8:
        return r.randrange(1, 800)
    if kind < 0.93:
        return r.randrange(800, 15_000)
    if kind < 0.96:
        return -r.randrange(1, 30_000)
    return r.choice((60_000, 61_000, 120_000, 600_000, 4_000_000, 8_000_000))


def _settings(r: Random) -> AgentSettings:
    styles: tuple[NameTags, ...] = ("influx", "librato", "signalfx")
    limits = Limits(
        max_line_bytes=r.choice((65_536, 65_536, 64)),
        max_name_bytes=r.choice((512, 512, 8)),
        max_tags=r.choice((64, 64, 64, 64, 2, 0)),
        max_tag_bytes=r.choice((1_024, 1_024, 8)),
        control_characters=r.random() < 0.2,
        gauge_deltas=r.choice(_DELTAS),
        name_tags=() if r.random() < 0.6 else tuple(style for style in styles if r.random() < 0.6),
    )
    if r.random() < 0.3:
        limits = msgspec.structs.replace(limits, timer_unit="s")
    aggregate = AggregateSettings(
        lateness_s=r.choice((3_600, 3_600, 100, 0)),
        future_s=r.choice((60, 60, 5, 0)),
        max_entries=r.choice((2_000_000, 2_000_000, 2_000_000, 200, 16)),
        max_series=r.choice((500_000, 500_000, 500_000, 10, 3, 1)),
        gauge_memory_s=r.choice((3_600, 60, 1)),
        last_value_s=r.choice((2_592_000, 2_592_000, 3_600, 1)),
        max_last_values=r.choice((500_000, 500_000, 500_000, 0)),
    )
    if r.random() < 0.3:  # and nothing is forgotten: the cores do that at different times
        aggregate = msgspec.structs.replace(
            aggregate,
            max_metric_series=r.choice((1, 2, 5)),
            max_total_series=r.choice((0, 0, 3, 10)),
            max_series=500_000,
            gauge_memory_s=2_592_000,
        )
    tags = {} if r.random() < 0.7 else {"a": "static", "pod": "p-1"}
    return AgentSettings(lines=limits, aggregate=aggregate, tags=tags)


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool]) -> Scenario:
    """Return a smaller scenario that fails, too: fewer steps, then fewer lines, then fewer bytes."""
    steps = list(_fewer(list(scenario.steps), lambda kept: fails(_with(scenario, kept))))
    for parted in (b"\n", b""):
        for i, step in enumerate(steps):
            if step.what == "add":
                parts = step.data.split(parted) if parted else [bytes([byte]) for byte in step.data]

                def still(kept: list[bytes], i: int = i, parted: bytes = parted) -> bool:
                    changed = msgspec.structs.replace(steps[i], data=parted.join(kept))
                    return fails(_with(scenario, [*steps[:i], changed, *steps[i + 1 :]]))

                steps[i] = msgspec.structs.replace(step, data=parted.join(_fewer(parts, still)))
    return _with(scenario, steps)


def _with(scenario: Scenario, steps: list[Step]) -> Scenario:
    return msgspec.structs.replace(scenario, steps=tuple(steps))


def _fewer(parts: list[Any], fails: Callable[[list[Any]], bool]) -> list[Any]:
    """Leaves out halves, quarters, ... and single parts, as long as it still fails."""
    size = max(len(parts) // 2, 1)
    while True:
        at = 0
        while at < len(parts):
            kept = parts[:at] + parts[at + size :]
            if fails(kept):
                parts = kept
            else:
                at += size
        if size == 1:
            return parts
        size //= 2
