"""The protocol corpus: every line becomes what the table says, and docs/protocol.md shows it."""

from __future__ import annotations

from collections import Counter

import pytest

from agent.line import BadLine, Ignored, Kind, Line, Reason, Skip
from tests.corpus.cases import NOW_MS, Group, groups
from tests.corpus.reading import becomes, read
from tests.support import protocol_table
from tests.support.markdown import between

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
    """But those that no line has by itself: a cut packet, and what a mapping drops."""
    parsed = [p for group in GROUPS for case in group.cases for p in read(case.packet, group.lines)]
    lines = [p for p in parsed if isinstance(p, Line)]
    assert {p.reason for p in parsed if isinstance(p, BadLine)} == set(Reason) - {Reason.CUT_OFF}
    assert {p for p in parsed if isinstance(p, Skip)} == set(Skip) - {Skip.EMPTY, Skip.MAPPING}
    assert {line.head.kind for line in lines} == set(Kind)
    assert {ignored for line in lines for ignored in line.head.ignored} == set(Ignored)


def test_docs_show_it() -> None:
    there = between(protocol_table.FILE, protocol_table.MARK)
    assert there == protocol_table.document(), f"python -m {protocol_table.MARK} writes it"
