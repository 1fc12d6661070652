"""The native core's memory and results with tens of thousands of names."""

from __future__ import annotations

import random

import pytest

from agent.core._native.core import NativeCore
from agent.core.python_core import PythonCore
from agent.settings import AgentSettings, AggregateSettings
from tests.unit.agent.state import state_of_frames
from tests.unit.agent.test_native_core import NOW_MS, SENDER, both, flushed, frames


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 7, 20, 21, 50, 51, 52, 97, 1_000, 20_000])
def test_distributions_of_any_width(count: int) -> None:
    random_ = random.Random(count)
    values = [random_.choice([1, -1]) * 10.0 ** random_.uniform(-300, 300) for _ in range(count)]
    values += random_.choices(values, k=count)
    native, python = both(b"\n".join(b"d:%r|d".replace(b"%r", repr(v).encode()) for v in values))
    assert native == python


def test_late_lines_find_the_cells_of_series_that_went_on() -> None:
    """Some have gone on to the next bucket, some have not; later ones go on, or are new, after one looked."""
    native, python = (NativeCore(AgentSettings()), PythonCore(AgentSettings(), None, lambda: None))
    states = []
    for core in (native, python):
        for kind in "cgds":
            lines = [f"{kind}{i}:{i % 7}|{kind}" for i in range(1_000)]
            core.add("\n".join(lines).encode(), NOW_MS)
            core.add("\n".join(lines[::2]).encode(), NOW_MS + 10_000)
            core.add("\n".join(f"{line}|T{NOW_MS // 1000}" for line in lines[::3]).encode(), NOW_MS + 10_001)
            core.add("\n".join(lines).encode(), NOW_MS + 10_002)
            core.add("\n".join(f"{line}|T{NOW_MS // 1000}" for line in lines).encode(), NOW_MS + 10_003)
            core.add(f"new-{kind}:1|{kind}|T{NOW_MS // 1000}\n".encode() * 2, NOW_MS + 10_003)
            core.add("\n".join(lines).encode(), NOW_MS + 5_000)  # a clock that was set back
        core.flush_all(NOW_MS + 10_004)
        states.append(made := frames(core, max_rows=100_000))
        assert sum(frame.rows for frame in made) == 4 * (2 * 1_000 + 1)
    assert state_of_frames(states[0]) == state_of_frames(states[1])


def test_what_was_not_seen_for_a_while_is_released() -> None:
    core = NativeCore(AgentSettings(aggregate=AggregateSettings(gauge_memory_s=60)))
    empty = core.memory_bytes
    core.add(b"\n".join(b"x.%d:1|g|#host:web-%d" % (i, i) for i in range(20_000)), NOW_MS)
    assert core.memory_bytes > empty + 20_000 * 100
    flushed(core)
    assert core.remembered_series == 20_000
    for second in range(0, 200, 10):
        core.add(b"other:1|c", NOW_MS + second * 1000)
        core.flush(NOW_MS + second * 1000)
        frames(core)
    assert core.remembered_series == 1
    for _ in range(40):  # a part with each flush
        core.flush(NOW_MS)
    assert core.memory_bytes < empty + 20_000
    core.add(b"x.7:+1|g", NOW_MS + 200_000)  # and starts from 0
    assert flushed(core)["gauge", "x.7", (), NOW_MS // 1000 + 200]["last"] == (NOW_MS + 200_000, 1.0)


def test_the_memory_of_heads_is_bounded() -> None:
    core = NativeCore(AgentSettings(aggregate=AggregateSettings(max_series=500)))
    sizes = []
    for turn in range(60):
        core.add(b"\n".join(b"x.%d.%d:1|c" % (turn, i) for i in range(1_000)), NOW_MS + turn)
        flushed(core, NOW_MS + turn)
        sizes.append(core.memory_bytes)
    assert core.forgotten_heads == 60_000 - 1_000
    assert core.remembered_series == 1_000
    assert max(sizes[30:]) <= 1.1 * max(sizes[:30])
    core.sweep()
    assert core.memory_bytes < max(sizes)


@pytest.mark.parametrize("mapped", [False, True])
def test_endless_new_names_take_no_more_than_three_times_max_series(mapped: bool) -> None:
    """Dead entries are swept before as many are dead again, and live ones keep their last value."""
    settings = AgentSettings(aggregate=AggregateSettings(max_series=4_000))
    core = NativeCore(settings, (lambda head: head) if mapped else None)
    sizes = []
    for turn in range(40):
        for part in range(4):
            names = range((turn * 4 + part) * 1_000, (turn * 4 + part + 1) * 1_000)
            lines = [b"x.%d:1|c|#host:web-%d" % (i, i) for i in names]
            core.add(b"\n".join([*lines, b"mine:+1|g"]), NOW_MS + turn)
        core.flush_all(NOW_MS + turn)
        while core.next_frame(SENDER, 1, NOW_MS, max_rows=10_000, max_bytes=1 << 22):
            pass
        sizes.append(core.memory_bytes)
    assert core.forgotten_heads >= 160_000 - 3 * 4_000
    assert max(sizes) < 1.5 * sizes[1]  # which held two turns
    core.add(b"mine:+1|g", NOW_MS + 100)
    assert flushed(core)["gauge", "mine", (), NOW_MS // 1000]["last"][1] == 161
