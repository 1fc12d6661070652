"""Seeded schedules: which fault begins and ends when, and the lines sent around it. Pure.

A schedule of one fault is: lines that are promised before it, lines while it lasts, lines after it. Where in
between processes strike is drawn from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

import msgspec

Action = Literal["send", "promise", "begin", "heal"]


class Step(msgspec.Struct, frozen=True):
    """One action: `lines` of each type and route, or a fault by its name."""

    action: Action
    lines: int = 0
    fault: str = ""


def around(fault: str, seed: int) -> list[Step]:
    """Return a schedule with one fault."""
    rnd = random.Random(f"{fault} {seed}")

    def send() -> list[Step]:
        return [Step("send", lines=rnd.randint(10, 50)) for _ in range(rnd.randint(1, 2))]

    steps = [*send(), Step("promise"), *send(), Step("begin", fault=fault), *send()]
    return [*steps, *(send() if rnd.random() < 0.5 else ()), Step("heal", fault=fault), *send()]


def endless(faults: list[str], seed: int) -> Iterator[tuple[int, list[Step]]]:
    """Yield (round, schedule) for ever: each fault once in each round, in drawn order."""
    rnd = random.Random(seed)
    n = 0
    while True:
        for fault in rnd.sample(faults, len(faults)):
            n += 1
            yield n, around(fault, rnd.randrange(1 << 32))
