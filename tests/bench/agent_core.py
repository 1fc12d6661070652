"""Cost of a core by itself: a line added, a row made into a frame. No sockets, no sending.

`python -m tests.bench.agent_core` prints nanoseconds of CPU, medians of some rounds in one process, next to
the floor: counting the newlines of the same bytes.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from statistics import median
from typing import Final

from agent.core.interface import Core
from agent.core.python_core import PythonCore
from agent.settings import AgentSettings
from agent.wire.frame import Sender, encode
from tests.bench.agent_load import mixed

BATCH_LINES: Final = 1_000
NOW_MS: Final = 1_700_000_000_000
SENDER: Final = Sender(agent="bench", epoch=1)


def cpu_ns(work: Callable[[], object], count: int) -> float:
    """CPU of `work`, in ns for each of `count` things."""
    start = time.process_time_ns()
    work()
    return (time.process_time_ns() - start) / count


def make_frames(core: Core, counted: list[int]) -> None:
    """Make and encodes all frames; add up their rows."""
    while frame := core.next_frame(SENDER, 1, NOW_MS, max_rows=5_000, max_bytes=4 << 20):
        counted[0] += frame.rows
        encode(frame)


def measure(core: Core, batches: list[bytes], rounds: int) -> str:
    """One core's figures, after a round that makes all series known."""
    lines = sum(batch.count(b"\n") + 1 for batch in batches)
    added, framed, floor = [], [], []
    for number in range(rounds + 1):
        now_ms = NOW_MS + number * 10_000
        floor.append(cpu_ns(lambda: [batch.count(b"\n") for batch in batches], lines))
        added.append(cpu_ns(lambda: [core.add(batch, now_ms) for batch in batches], lines))  # type: ignore[func-returns-value] # noqa: B023 - called at once
        core.flush_all(now_ms)
        rows = [0]
        spent = cpu_ns(lambda: make_frames(core, rows), 1)  # noqa: B023 - called at once
        framed.append(spent / rows[0])
    figures = (median(added[1:]), median(floor), median(framed[1:]), rows[0])
    return "{:8.0f} ns a line (floor {:.0f}), {:8.0f} ns a row of {:,}".format(*figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", action="store_true", help="the core in Python, too")
    asked = parser.parse_args()
    for series in (1_000, 100_000):
        lines = list(mixed(asked.lines, series))
        batches = [b"\n".join(lines[i : i + BATCH_LINES]) for i in range(0, len(lines), BATCH_LINES)]
        native: Core = importlib.import_module("agent.core._native.core").NativeCore(AgentSettings())
        print(f"{series:>9,} series, native: {measure(native, batches, asked.rounds)}", flush=True)
        if asked.python:
            python = PythonCore(AgentSettings(), None, lambda: None)
            print(f"{series:>9,} series, python: {measure(python, batches, 1)}", flush=True)


if __name__ == "__main__":
    main()
