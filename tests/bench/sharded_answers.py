"""Answers over two shards: Prometheus' own test files, the shapes of its API, and exactness, by layout.

python -m tests.bench.sharded_answers [LAYOUT ...]    exit code 1: some tests failed

Layouts are those of tests/support/two_shards.py: `by_series` as the product's tables say, `by_row` with the
rows of a series on both shards. Without one, all. The tests are those of the plain product, with the same
floors.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tests.e2e.product import ROOT
from tests.support.two_shards import LAYOUTS, VARIABLE

_TESTS = ("tests/e2e/test_exactness.py", "tests/integration/test_promqltest.py")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("layouts", nargs="*", metavar="LAYOUT", help=", ".join(LAYOUTS))
    layouts = parser.parse_args().layouts or list(LAYOUTS)
    if unknown := [layout for layout in layouts if layout not in LAYOUTS]:
        parser.error(f"unknown layout {unknown[0]!r}, expected {' or '.join(LAYOUTS)}")
    failed = []
    for layout in layouts:
        print(f"== {layout}", flush=True)
        command = [sys.executable, "-m", "pytest", *_TESTS, "-q", "-rP", "--tb=short"]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, VARIABLE: layout}, check=False)
        failed += [layout] * (done.returncode != 0)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
