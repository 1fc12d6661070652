"""A frame knows its lines: the same in both cores, and each good line once."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from agent.core.factory import open_core
from agent.runtime.logs import Log
from agent.settings import AgentSettings
from agent.wire.frame import Sender
from tests.support.cores.packets import PacketMaker
from tests.support.cores.rows import CORES

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize("core", CORES)
def test_each_good_line_is_in_one_frame(core: str) -> None:
    made = PacketMaker(Random(5))
    opened = open_core(AgentSettings(core=core), None, lambda: None, Log())  # type: ignore[arg-type]
    for part in range(400):
        opened.add(made.packet(NOW_MS + part), NOW_MS + part)
    opened.flush_all(NOW_MS + 1_000)
    numbers, lines = itertools.count(1), []
    sender = Sender(agent="a", epoch=1)
    while frame := opened.next_frame(sender, next(numbers), NOW_MS, max_rows=50, max_bytes=1 << 20):
        lines.append(frame.lines)
    stats = opened.stats
    good = stats.lines - stats.bad.total() - stats.skipped.total()
    assert sum(lines) == good > 500
    assert len(lines) > 3
    assert min(lines) >= 1


@pytest.mark.parametrize("core", CORES)
def test_packed_values_are_one_line_and_samples_one_each(core: str) -> None:
    opened = open_core(AgentSettings(core=core), None, lambda: None, Log())  # type: ignore[arg-type]
    opened.add(b"a:1:2:3|c\nb:1|c:2|c\ns:x|s\ns:x|s\nbad\ng:1|g|T1699999990", NOW_MS)
    opened.flush_all(NOW_MS)
    frame = opened.next_frame(Sender(agent="a", epoch=1), 1, NOW_MS, max_rows=50, max_bytes=1 << 20)
    assert frame
    assert (frame.rows, frame.lines) == (4, 6)
