"""The native core equals the Python core: the same rows, bit for bit, and the same counters, for any input.

Seeded scenarios (tests/support/cores): settings, packets, arrivals that also go back in time, and flushes. A
difference is shrunk and printed. `python -m tests.property.test_agent_cores --packets 1000000` looks further.
"""

from __future__ import annotations

import argparse
import sys
from typing import Final

import msgspec
import pytest

from tests.support.cores.rows import CORES
from tests.support.cores.scenario import Scenario, Step, make, outcome, shrink

#: Scenarios of one test case, and how many cases: over 100,000 packets in all.
BLOCK: Final = 700
BLOCKS: Final = 8
ENOUGH_PACKETS: Final = 100_000


def differ(scenario: Scenario) -> bool:
    """Return whether the two cores give different results."""
    return outcome("python", scenario) != outcome("native", scenario)


def explain(seed: int, scenario: Scenario) -> str:
    """Return a difference as text: the smallest scenario that shows it, and the answer of each core."""
    small = shrink(scenario, differ)
    steps = "\n".join(f"  {step}" for step in small.steps)
    said = [outcome(core, small) for core in ("python", "native")]
    lines = [f"{a}\n  native: {b}" for a, b in zip(*said, strict=False) if a != b]
    s = small.settings
    head = f"seed {seed}, mapped: {small.mapped}, {s.lines}, {s.aggregate}, tags: {s.tags}"
    return "\n".join([head, steps, "python: ", *lines])


def look(first_seed: int, scenarios: int) -> tuple[int, str]:
    """Compare a number of scenarios; return how many packets they had, and the first difference."""
    packets = 0
    for seed in range(first_seed, first_seed + scenarios):
        scenario = make(seed)
        packets += scenario.packets
        if differ(scenario):
            return packets, explain(seed, scenario)
    return packets, ""


@pytest.mark.parametrize("block", range(BLOCKS))
def test_cores_agree(block: int) -> None:
    packets, difference = look(block * BLOCK, BLOCK)
    assert not difference, difference
    assert packets * BLOCKS >= ENOUGH_PACKETS


def split(scenario: Scenario) -> Scenario:
    """Return the same lines at the same times, one call for each."""
    steps = list[Step]()
    for step in scenario.steps:
        lines = step.data.split(b"\n") if step.what == "add" else [step.data]
        steps.extend(msgspec.structs.replace(step, data=line) for line in lines)
    return msgspec.structs.replace(scenario, steps=tuple(steps))


@pytest.mark.parametrize("core", CORES)
def test_packets_may_be_cut_between_lines(core: str) -> None:
    for seed in range(250):
        scenario = make(seed)
        if scenario.settings.aggregate.max_entries < 1_000:
            continue  # an early flush comes after a packet
        assert outcome(core, split(scenario)) == outcome(core, scenario), seed


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares the cores on random packets.")
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the first scenario")
    options = parser.parse_args()
    packets, seed = 0, options.seed
    while packets < options.packets:
        more, difference = look(seed, BLOCK)
        packets, seed = packets + more, seed + BLOCK
        sys.stdout.write(difference or f"{packets} packets, no difference\n")
        if difference:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
