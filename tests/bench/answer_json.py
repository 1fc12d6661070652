"""Writing an answer as JSON: the compiled rows beside those in Python, and the whole answer.

python -m tests.bench.answer_json [--series 500] [--steps 361] [--rounds 15]

CPU of this thread, the least of the rounds, which take turns. *Rates* are n/300 with few different values, as
counters give them; *random* are floats of 15 to 17 digits, no two alike. The floor copies the finished bytes.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

import numpy as np

from shim.engine.api import QueryResult
from shim.http.json_encoder import encode
from shim.http.points import write_rows, write_rows_in_python
from shim.model.grid import Grid
from shim.model.values import Floats, Vector


def least_ms(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            before = time.thread_time()
            call()
            found[name] = min(found[name], (time.thread_time() - before) * 1000)
    return found


def measure(kind: str, values: Floats, rounds: int) -> None:
    series, steps = values.shape
    labels = [(("host", f"host-{i:04d}"), ("status", "500")) for i in range(series)]
    grid = Grid(1_763_766_000_000, 1_763_766_000_000 + (steps - 1) * 60_000, 60_000)
    there = np.ones(values.shape, dtype=bool)
    answer = QueryResult("matrix", Vector(steps, labels, values, there), grid)
    done = encode(answer).result
    costs = least_ms(
        {
            "floor: the bytes copied": lambda: bytearray(done),
            "rows, compiled": lambda: write_rows(grid.times_ms, values, there),
            "rows, in Python": lambda: write_rows_in_python(grid.times_ms, values, there),
            "the answer": lambda: encode(answer).result,
        },
        rounds,
    )
    for name, ms in costs.items():
        print(f"| {kind} | {name} | {ms:.2f} | {ms / costs['rows, compiled']:.2g} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--steps", type=int, default=361)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    print(f"# {platform.machine()}, {os.cpu_count()} CPUs, {platform.python_version()}, {args}")
    print("| values | what | CPU ms | to the compiled rows |\n|---|---|---:|---:|")
    rng = np.random.default_rng(1)
    shape = (args.series, args.steps)
    measure("rates", rng.exponential(10, (*shape, 5)).round().sum(axis=2) / 300, args.rounds)
    measure("random", rng.exponential(10, shape), args.rounds)


if __name__ == "__main__":
    main()
