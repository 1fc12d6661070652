"""The subcommand `meterhouse check-rules`: checks rule files, and says where they are wrong."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.cli.common import report_error
from shim.rules.rule_file import RuleGroup, doubtful_rules, parse_rule_file
from shim.rules.rule_yaml import MAX_FILE_BYTES, RuleFileError


def read_rule_file(file: str) -> list[RuleGroup]:
    """Return the groups of a file. Raises RuleFileError, also for a file that cannot be read."""
    return parse_rule_file(file, read_text(Path(file)))


def read_text(path: Path) -> str:
    """Return the text of a file. Raises RuleFileError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise RuleFileError(f"{path}: {path.stat().st_size} bytes; at most {MAX_FILE_BYTES} are accepted")
        return path.read_text(encoding="utf-8")
    except OSError as e:
        raise RuleFileError(f"{path}: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise RuleFileError(f"{path}: {e}; expected UTF-8") from None


def check_rules(argv: Sequence[str]) -> int:
    """Run `meterhouse check-rules`: print the number of rules of each file, or its problems."""
    parser = argparse.ArgumentParser(
        prog="meterhouse check-rules",
        description="Checks rule files of Prometheus: form, expressions, templates. Needs no server.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a rule file (YAML)")
    code = 0
    for file in parser.parse_args(argv).files:
        try:
            groups = read_rule_file(file)
        except RuleFileError as e:
            code = 1
            for line in str(e).splitlines():
                report_error("check-rules", line, 1)
            continue
        print(f"{file}: {sum(len(g.rules) for g in groups)} rules in {len(groups)} groups")
        for line in doubtful_rules(groups):
            print(f"warning: {file}: {line}", file=sys.stderr)
    return code
