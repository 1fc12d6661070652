"""The tables of faults in docs/reliability.md: each row names a test or a command that shows its result."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.support.markdown import ROOT

_PAGE: Final = (ROOT / "docs" / "reliability.md").read_text()
_TABLES: Final = re.findall(
    r"^\| fault \| result \| shown by \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", _PAGE, re.MULTILINE
)
#: A line of a table has bars that are text, too: `\|`.
_CELL: Final = re.compile(r"(?<!\\)\|")
_TEST: Final = re.compile(r"`([a-z0-9_/]+\.py)::(\w+)`")
_COMMAND: Final = re.compile(r"`python -m (tests(?:\.\w+)+)[^`]*`")
_FAULT: Final = re.compile(r"`(\w+)` of `faults/faults\.py`")
#: Rows without a test; their number may only shrink.
_MAX_UNSHOWN: Final = 1


def _rows() -> list[tuple[str, str]]:
    """Return each row's fault, and the text of its last column."""
    cells = [_CELL.split(line) for table in _TABLES for line in table.splitlines()]
    assert {len(row) for row in cells} == {5}
    return [(row[1].strip(), row[3].strip()) for row in cells]


def _faults() -> set[str]:
    """Return the names of the faults that real processes meet."""
    text = (ROOT / "tests" / "faults" / "faults.py").read_text().partition("FAULTS: Final[dict[str")[2]
    return set(re.findall(r'^    "(\w+)": ', text, re.MULTILINE))


def test_no_table_of_faults_lacks_the_column() -> None:
    assert "| fault | result |\n" not in _PAGE
    assert len(_rows()) > 50


@pytest.mark.parametrize(("fault", "shown"), _rows())
def test_a_row_names_what_shows_it(fault: str, shown: str) -> None:
    tests, commands, faults = _TEST.findall(shown), _COMMAND.findall(shown), _FAULT.findall(shown)
    assert tests or commands or faults or shown.startswith("no test: "), fault
    for file, test in tests:
        path = ROOT / "tests" / file
        assert path.is_file(), file
        assert re.search(rf"def {test}\(", path.read_text()), f"{file}::{test} is not there"
    for command in commands:
        path = ROOT / command.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), command
    assert set(faults) <= _faults()


def test_few_rows_have_no_test() -> None:
    assert sum(shown.startswith("no test: ") for _, shown in _rows()) <= _MAX_UNSHOWN


def test_the_table_of_real_faults_has_each_and_no_other() -> None:
    table = _PAGE.partition("| fault (`tests/faults/faults.py`) | result |\n")[2].partition("\n\n")[0]
    cells = [_CELL.split(line)[1].partition(": ")[0] for line in table.splitlines()]
    assert {name for cell in cells for name in re.findall(r"`([a-z_0-9]+)`", cell)} == _faults()
