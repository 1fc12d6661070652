"""The list in docs/clickhouse.md of things that no test runs: each line quotes doctor's own words."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from indexer.cli import doctor
from indexer.diagnosis import self_test
from tests.support.markdown import ROOT
from tests.unit.indexer.test_diagnosis import CASES, CHECKS

#: Checks that are not made of rows: their words are in their modules.
_MODULES = {"Redis": doctor, "write: ": self_test}


def _lines() -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield the first cell of each line, the names of checks, and the quoted words."""
    page = (ROOT / "docs" / "clickhouse.md").read_text()
    rows = page.partition("\n## Not run here\n")[2].partition("\n## ")[0].splitlines()
    for row in rows:
        if row.startswith("| ") and not row.startswith("| not run |"):
            what, checks, said = row.strip("| ").split(" | ")
            yield what, re.findall(r"`([^`]+)`", checks), re.findall(r'"([^"]+)"', said)


def _words(check: str) -> list[str]:
    """Return all that a check says in its tests, and its advice."""
    for start, module in _MODULES.items():
        if check.startswith(start):
            source = inspect.getsource(module)
            assert f'"{check.partition(": ")[0]}' in source
            return [source]
    said = [CHECKS[name].judge(rows, around).reason for name, around, rows, _, _ in CASES if name == check]
    return [*said, CHECKS[check].advice]


def test_each_line_quotes_doctor() -> None:
    lines = list(_lines())
    assert len(lines) > 12
    for what, checks, quoted in lines:
        assert checks, what
        assert quoted, what
        known = [text for check in checks for text in _words(check)]
        assert [q for q in quoted if not any(q in text for text in known)] == [], what
        for check in checks:
            assert any(q in text for q in quoted for text in _words(check)), (what, check)


def test_every_check_has_a_line() -> None:
    listed = {check for _, checks, _ in _lines() for check in checks}
    kinds = {name for name in CHECKS if not name.startswith("right ")}
    assert kinds <= listed
