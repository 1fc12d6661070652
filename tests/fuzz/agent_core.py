"""Fuzzes the native core, and runs its tests, under AddressSanitizer and UndefinedBehaviourSanitizer.

    python -m tests.fuzz.agent_core [--executions 1000000] [--seconds 0] [--tests] [--keep FOLDER]

One execution is one packet. libFuzzer mutates the protocol corpus, guided by coverage of the core, and each
of its inputs is joined by mutants of its own (driver.c). `--tests` runs the core's tests under the sanitizers
first. Exit code 0: nothing found; 1: something; 2: no build.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.corpus.cases import groups
from tests.fuzz.build import Build, BuildError
from tests.fuzz.target import KINDS, PACKETS

#: Tests that reach the native core. Those of timing or of other processes are not among them.
TESTS: Final = (
    "tests/unit/agent/test_corpus.py",
    "tests/unit/agent/test_core.py",
    "tests/unit/agent/test_native_core.py",
    "tests/integration/agent/test_native_threads.py",
    "tests/integration/agent/test_receive.py",
    "tests/property/test_agent_cores.py",
    "tests/property/test_agent_values.py",
)
#: Of test_agent_cores.py one block is enough here, of the values the edges: a sanitizer costs time.
NOT_HERE: Final = "not (test_cores_agree and not 0) and not test_numbers_are_what and not [python]"
MOST_BYTES: Final = 1_024
#: Parts of the grammar, for the fuzzer to put in.
WORDS: Final = (
    "|c", "|g", "|d", "|ms", "|h", "|s", "|m", "|@", "|@0.5", "|#", "|#k:v", "|T", "|T1700000000", "|c:",
    "|e:", "|card:", "_e{", "_sc|", ":", ",", "[k=v]", ",k=v", "#k=v", "e308", "1e-400", "+1", "-0", "nan",
)  # fmt: skip


def seeds(folder: Path) -> None:
    """Write the corpus as inputs, for each core."""
    folder.mkdir()
    packets = {case.packet for group in groups() for case in group.cases if len(case.packet) < MOST_BYTES}
    for number, packet in enumerate(sorted(packets)):
        for which in range(len(KINDS)):
            how = which | (number % 8) << 3 | (number % 4) << 6
            (folder / f"{number:03}-{which}").write_bytes(bytes([how]) + packet)


def dictionary(file: Path) -> None:
    file.write_text("".join(f'"{word}"\n' for word in (*WORDS, "\\x0a", "\\x0d\\x0a", "\\xc3\\xa4", "\\xff")))


def fuzz(build: Build, executions: int, seconds: int) -> bool:
    """Run the fuzzer; True if it found nothing."""
    seeds(build.folder / "seeds")
    dictionary(build.folder / "words")
    (build.folder / "found").mkdir()
    command = [
        *(str(build.fuzzer), str(build.folder / "found"), str(build.folder / "seeds")),
        *(f"-runs={-(-executions // PACKETS)}", f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}"),
        *(f"-dict={build.folder / 'words'}", f"-artifact_prefix={build.folder}/", "-rss_limit_mb=2048"),
        *("-entropic=0", "-use_counters=0", "-timeout=60", "-print_final_stats=1"),
    ]
    log = build.folder / "fuzzer.log"
    before, started = _children_cpu_s(), time.monotonic()
    with log.open("wb") as out:
        done = subprocess.run(
            command, cwd=build.folder, env=build.environ(), stdout=out, stderr=out, check=False
        )
    took_s, cpu_s = time.monotonic() - started, _children_cpu_s() - before
    text = log.read_text(errors="replace")
    inputs = re.search(r"stat::number_of_executed_units: *(\d+)", text)
    count = int(inputs[1]) * PACKETS if inputs else 0
    edges = [int(found) for found in re.findall(r"cov: (\d+)", text)]
    sys.stdout.write(
        f"{count} executions in {took_s:.0f} s, {cpu_s:.0f} s of CPU, {max(edges, default=0)} edges"
    )
    sys.stdout.write(f" covered, exit code {done.returncode}\n")
    if done.returncode:
        sys.stdout.write(text[-8_000:])
    return not done.returncode


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_tests(build: Build) -> bool:
    """Run the core's tests in the instrumented tree; True if all pass."""
    there = [test for test in TESTS if (build.folder / test).exists()]
    # Without tests/conftest.py, which loads ClickHouse: no sanitizer goes with that.
    options = ("-q", "--noconftest", "-p", "no:cacheprovider", "-k", NOT_HERE)
    command = [str(build.python), "-m", "pytest", *options, *there]
    return not subprocess.run(command, cwd=build.folder, env=build.environ(), check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzzes the native core under sanitizers.")
    parser.add_argument(
        "--executions", type=int, default=1_000_000, help="packets (default %(default)s; -1: no end)"
    )
    parser.add_argument("--seconds", type=int, default=0, help="at most so long; 0: no bound")
    parser.add_argument(
        "--tests", action="store_true", help="run the core's tests under the sanitizers first"
    )
    parser.add_argument("--keep", type=Path, help="an empty folder for the build and what was found")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            build = Build(options.keep or Path(temporary))
        except BuildError as e:
            sys.stderr.write(f"{e}\n")
            return 2
        good = not options.tests or run_tests(build)
        return 0 if good and fuzz(build, options.executions, options.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
