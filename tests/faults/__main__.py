"""Runs faults for a given time, each against the known truth.

python -m tests.faults [--seconds 3600] [--seed 7] [--batching frame|journal] [--only FAULT ...]

Each round has every fault once, in drawn order. The first violation ends the run with exit code 1, and with
the seed that repeats it; the folder with all logs and the store is kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.actors.clients import past_hour
from tests.faults.faults import FAULTS
from tests.faults.houses import Houses
from tests.faults.run import run
from tests.faults.schedule import endless
from tests.faults.truth import Truth


def main() -> int:
    """Run schedules until the time is over; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3_600.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--batching", choices=("frame", "journal"), default="frame")
    parser.add_argument("--only", nargs="+", choices=sorted(FAULTS), default=list(FAULTS))
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="meterhouse-faults-"))
    houses = Houses(folder, args.batching)
    end = time.monotonic() + args.seconds
    lines = 0
    try:
        for n, steps in endless(args.only, args.seed):
            if time.monotonic() > end:
                break
            fault = next(step.fault for step in steps if step.action == "begin")
            house = houses.of(fault)
            if reason := FAULTS[fault].missing(house):
                print(f"{n} {fault}: SKIPPED: {reason}", flush=True)
                continue
            began = time.monotonic()
            truth = Truth(f"n{n}.{fault}", past_hour())
            try:
                run(house, truth, steps)
            except AssertionError as e:
                print(f"{n} {fault}: seed {args.seed}, logs in {folder}\n{e}", flush=True)
                return 1
            lines += truth.sent
            print(f"{n} {fault}: exact, {truth.sent} lines, {time.monotonic() - began:.1f} s", flush=True)
        print(f"all exact: {lines} lines and messages")
        return 0
    finally:
        houses.clear()


if __name__ == "__main__":
    sys.exit(main())
