"""The subcommand `meterhouse test-rules`: runs unit tests of rules, and shows differences."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.cli.common import report_error
from shim.cli.check_rules import read_rule_file, read_text
from shim.rules.rule_file import RuleGroup
from shim.rules.rule_yaml import RuleFileError
from shim.rules.unit_test_file import UnitTestFile, parse_unit_tests
from shim.rules.unit_test_run import failures


def test_rules(argv: Sequence[str]) -> int:
    """`meterhouse test-rules`: runs the tests of each file; 1 if one fails."""
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
    failed = 0
    for number, test in enumerate(tests.tests, 1):
        problems = failures(tests, groups, test)
        failed += bool(problems)
        if problems:
            print(f"{file}:{test.line}: FAILED: {test.name or f'test {number}'}")
            print("\n".join(f"  {line}" for problem in problems for line in problem.splitlines()))
    print(f"{file}: {len(tests.tests) - failed} of {len(tests.tests)} tests passed")
    return not failed


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
