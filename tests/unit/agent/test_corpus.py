"""The protocol corpus: every line becomes the table's result, in both cores; docs/protocol.md shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from agent.core.interface import Core
from agent.protocol.line import MAX_NUMBER, BadLine, Ignored, Kind, Line, Reason, Skip
from agent.wire.frame import Frame, Sender, decode, encode
from tests.corpus.cases import NOW_MS, Case, Group, groups
from tests.corpus.reading import becomes, read
from tests.support import protocol_table
from tests.support.cores.rows import CORES, counters, new_core
from tests.support.cores.scenario import Scenario, Step, outcome
from tests.support.line_model import model
from tests.support.markdown import between
from tests.unit.agent.state import state_of_frames

GROUPS = list(groups())
EACH = [pytest.param(group, id=group.title) for group in GROUPS]
ENOUGH = 300


@pytest.mark.parametrize("group", EACH)
def test_lines_become_what_the_table_says(group: Group) -> None:
    said = {case.text: list(case.becomes) for case in group.cases}
    got = {c.text: becomes(c.packet, NOW_MS, group.lines, group.aggregate) for c in group.cases}
    assert got == said


def test_the_table_is_whole() -> None:
    cases = [case for group in GROUPS for case in group.cases]
    assert len(cases) >= ENOUGH
    assert all(case.why and case.source for case in cases)
    for group in GROUPS:
        twice = [text for text, n in Counter(case.text for case in group.cases).items() if n > 1]
        assert not twice, group.title


def test_every_outcome_has_a_case() -> None:
    """Except those that no line has by itself: a cut packet, and lines that a mapping drops."""
    parsed = [p for group in GROUPS for case in group.cases for p in read(case.packet, group.lines)]
    lines = [p for p in parsed if isinstance(p, Line)]
    assert {p.reason for p in parsed if isinstance(p, BadLine)} == set(Reason) - {Reason.CUT_OFF}
    assert {p for p in parsed if isinstance(p, Skip)} == set(Skip) - {Skip.EMPTY, Skip.MAPPING}
    assert {line.head.kind for line in lines} == set(Kind)
    assert {ignored for line in lines for ignored in line.head.ignored} == set(Ignored)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("group", EACH)
def test_cores_make_of_it_what_the_model_says(core: str, group: Group) -> None:
    """Each packet twice, in one bucket and in the next: the second time its heads are known."""
    for case in group.cases:
        agent = new_core(core, group.settings)
        packets = [(case.packet, NOW_MS), (case.packet, NOW_MS), (case.packet, NOW_MS + 10_000)]
        for packet, now_ms in packets:
            agent.add(packet, now_ms)
        agent.flush_all(NOW_MS + 20_000)
        assert state_of_frames(frames(agent)) == in_range(model(packets, group.lines, group.aggregate)), case
        assert counters(agent)["bad"] == refused(case, group, len(packets)), case
        agent.close()


def frames(agent: Core) -> Iterator[Frame]:
    sender = Sender(agent="a", epoch=1)
    while frame := agent.next_frame(sender, 1, NOW_MS, max_rows=100, max_bytes=1 << 20):
        yield decode(encode(frame))


def in_range(state: Any) -> Any:
    """Return the state with overflowing values at the edge of a float's range, as on the wire."""
    if isinstance(state, dict):
        return {key: in_range(value) for key, value in state.items()}
    return min(max(state, -MAX_NUMBER), MAX_NUMBER) if isinstance(state, float) else state


def refused(case: Case, group: Group, times: int) -> dict[str, int]:
    reasons = [p.reason.value for p in read(case.packet, group.lines) if isinstance(p, BadLine)]
    return {reason: n * times for reason, n in Counter(reasons).items()}


@pytest.mark.parametrize("group", EACH)
def test_cores_agree_on_it(group: Group) -> None:
    """Bit for bit, on all counters, and with static tags."""
    for case in group.cases:
        steps = [Step("add", NOW_MS, case.packet), Step("frames"), Step("add", NOW_MS + 3, case.packet)]
        for tags in ({}, {"k": "static", "zone": "z1"}):
            settings = msgspec.structs.replace(group.settings, tags=tags)
            scenario = Scenario(settings, mapped=False, steps=(*steps, *steps))
            assert outcome("native", scenario) == outcome("python", scenario), case


def test_docs_show_it() -> None:
    there = between(protocol_table.FILE, protocol_table.MARK)
    assert there == protocol_table.document(), f"python -m {protocol_table.MARK} writes it"
