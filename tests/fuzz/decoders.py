"""Fuzzes every decoder of bytes that others send.

    python -m tests.fuzz.decoders [SECONDS] [NAME ...] [--seed TEXT] [--list]

SECONDS are shared by the decoders (all of them, or those that are named). Exit code 1: there are faults,
which are an exception that is not the decoder's own, an input that takes more than a second of CPU, and one
that takes memory far beyond its size. The same seed and number of inputs give the same inputs, so CI runs a
number (tests/property/test_decoders.py).
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.fuzz import decoders_agent, decoders_backfill, decoders_indexer, decoders_shim
from tests.fuzz.found import FOUND
from tests.fuzz.harness import Decoder, run, shown

#: An input that took longer is printed: not yet a fault.
SLOW_S: Final = 0.2


def all_decoders(folder: Path) -> list[Decoder]:
    """Every decoder; `folder` is for the files that some of them read."""
    parts = (decoders_agent, decoders_backfill, decoders_indexer, decoders_shim)
    known = [decoder for part in parts for decoder in part.decoders(folder)]
    return [replace(one, examples=(*FOUND.get(one.name, ()), *one.examples)) for one in known]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fuzzes every decoder of bytes that others send.")
    parser.add_argument("seconds", type=float, nargs="?", default=60.0, help="default %(default)s")
    parser.add_argument("names", nargs="*", help="decoders; none: all")
    parser.add_argument("--seed", default=str(time.time_ns()), help="default: another each time")
    parser.add_argument("--list", action="store_true", help="print the decoders")
    options = parser.parse_args(argv)
    faulthandler.enable()
    with tempfile.TemporaryDirectory() as folder:
        known = all_decoders(Path(folder))
        if options.list:
            sys.stdout.write("".join(f"{decoder.name}\n" for decoder in known))
            return 0
        chosen = [decoder for decoder in known if not options.names or decoder.name in options.names]
        if unknown := set(options.names) - {decoder.name for decoder in known}:
            parser.error(f"unknown decoders: {', '.join(sorted(unknown))}")
        good = True
        sys.stdout.write(f"seed {options.seed}\n")
        for decoder in chosen:
            report = run(decoder, options.seed, seconds=options.seconds / len(chosen))
            outcomes = ", ".join(f"{name} {count}" for name, count in report.outcomes.most_common())
            sys.stdout.write(
                f"{decoder.name}: {report.inputs} inputs, the slowest {report.slowest_s:.3f} s: {outcomes}\n"
            )
            if report.slowest_s > SLOW_S:
                sys.stdout.write(f"slow: {shown(report.slowest)}\n")
            sys.stdout.write("".join(f"FAULT {fault}\n" for fault in report.faults.values()))
            sys.stdout.flush()
            good = good and not report.faults
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
