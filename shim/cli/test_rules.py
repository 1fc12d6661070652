"""The subcommand `meterhouse test-rules`: runs unit tests of rules, and shows differences."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.cli.common import report_error
from indexer.clickhouse.store_errors import StoreError
from shim.cli.check_rules import read_rule_file, read_text
from shim.model.errors import BadData
from shim.rules.rule_file import RuleGroup
from shim.rules.rule_yaml import RuleFileError
from shim.rules.unit_test_file import UnitTestFile, parse_unit_tests
from shim.rules.unit_test_run import OpenEngine, failures


def test_rules(argv: Sequence[str]) -> int:
    """Run `meterhouse test-rules`: the tests of each file; return 1 if one fails."""
    parser = argparse.ArgumentParser(
        prog="meterhouse test-rules",
        description="Runs unit tests of rules in the form of `promtool test rules`. Needs no server.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file of tests (YAML)")
    passed = [_passes(file) for file in parser.parse_args(argv).files]
    return 0 if all(passed) else 1


def _passes(file: str) -> bool:
    try:
        tests = parse_unit_tests(file, read_text(Path(file)))
        groups = _groups(file, tests)
    except RuleFileError as e:
        for line in str(e).splitlines():
            report_error("test-rules", line, 1)
        return False
    try:
        failed = _failed(file, tests, groups)
    except StoreError as e:
        report_error("test-rules", f"{file}: lines of StatsD: {e}", 1)
        return False
    print(f"{file}: {len(tests.tests) - failed} of {len(tests.tests)} tests passed")
    return not failed


def _failed(file: str, tests: UnitTestFile, groups: Sequence[RuleGroup]) -> int:
    """Run all tests and show failures; return their number. Raises StoreError."""
    failed = 0
    with _line_engines(tests) as open_engine:
        for number, test in enumerate(tests.tests, 1):
            try:
                problems = failures(tests, groups, test, open_engine if test.lines else None)
            except BadData as e:  # a line of StatsD that an agent refuses
                problems = [str(e)]
            failed += bool(problems)
            if problems:
                print(f"{file}:{test.line}: FAILED: {test.name or f'test {number}'}")
                print("\n".join(f"  {line}" for problem in problems for line in problem.splitlines()))
    return failed


@contextmanager
def _line_engines(tests: UnitTestFile) -> Iterator[OpenEngine | None]:
    """Provide the way to open engines over lines of StatsD; None: there are none."""
    if not any(test.lines for test in tests.tests):
        yield None
        return
    from shim.rules.line_engine import line_engines  # imports ClickHouse

    with TemporaryDirectory(prefix="meterhouse-rules-") as folder, line_engines(Path(folder)) as opened:
        yield opened


def _groups(file: str, tests: UnitTestFile) -> list[RuleGroup]:
    """Return the groups of all rule files that a test file names. Raises RuleFileError."""
    paths = []
    for pattern in tests.rule_files:
        # Path.glob() refuses absolute patterns.
        found = sorted(glob.glob(str(Path(file).parent / pattern)))  # noqa: PTH207
        if not found:
            print(f"warning: {file}: rule_files: {pattern} matches no file", file=sys.stderr)
        paths += [path for path in found if path not in paths]
    return [group for path in paths for group in read_rule_file(path)]
