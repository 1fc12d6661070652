"""A function is named in its own file alone; everything else asks its record."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from shim.eval.functions.registry import FUNCTIONS
from shim.eval.window.registry import RANGE_FUNCTIONS
from tests.support.markdown import ROOT

RANGE: Final = ROOT / "shim" / "eval" / "range"


def may_name(text: str, names: Iterable[str]) -> bool:
    """Return False if no string literal of a file can be one of the names: most files need no parsing."""
    return re.search(rf"""["'](?:{"|".join(map(re.escape, names))})["']""", text) is not None


def literals(tree: ast.AST) -> Iterator[str]:
    """Yield every string literal that is not a docstring."""
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.value


def named(path: Path) -> Iterator[str]:
    """Yield the range functions that a file names in a string literal."""
    source = path.read_text()
    if "_over_time" not in source and not may_name(source, RANGE_FUNCTIONS):
        return
    for text in literals(ast.parse(source)):
        words = {text} | {word for word in text.replace("(", " ").split() if word.endswith("_over_time")}
        yield from words & RANGE_FUNCTIONS.keys()


def test_no_other_file_names_a_range_function() -> None:
    """Commands are clients of the API: they may write PromQL."""
    clients = ROOT / "shim" / "cli"
    files = [path for path in (ROOT / "shim").rglob("*.py") if not {RANGE, clients} & set(path.parents)]
    assert len(files) > 100
    found = {str(path.relative_to(ROOT)): names for path in files if (names := sorted(named(path)))}
    assert not found


def test_each_is_named_in_one_file() -> None:
    where: dict[str, list[str]] = {name: [] for name in RANGE_FUNCTIONS}
    for path in sorted(RANGE.glob("*.py")):
        for text in literals(ast.parse(path.read_text())):
            if text in where and path.name not in where[text]:
                where[text].append(path.name)
    assert {name: files for name, files in where.items() if len(files) != 1} == {
        "present_over_time": ["absent.py", "edges.py"]  # absent_over_time is its absence
    }
    assert len(where) == sum(len(_declared(path)) for path in RANGE.glob("*.py"))


def _declared(path: Path) -> list[str]:
    """Return the names that a file's records have, in order."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    records = (c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "RangeFunction")
    return [str(c.args[0].value) for c in records if isinstance(c.args[0], ast.Constant)]


def test_operators_and_functions_are_named_in_their_own_files() -> None:
    """Only PromQL's grammar names the operators, and the merge rule names `sum`."""
    only = {"topk", "bottomk", "count_values", "limitk", "limit_ratio", "stddev", "stdvar"}
    only |= {name for name in FUNCTIONS if "_" in name}
    files = [
        path for path in (ROOT / "shim").rglob("*.py") if path.parent.name not in ("functions", "aggregation")
    ]
    found = {
        str(path.relative_to(ROOT)): sorted(names)
        for path in files
        if may_name(source := path.read_text(), only)
        if (names := only.intersection(literals(ast.parse(source))))
    }
    assert {path for path in found if not path.startswith("shim/promql/")} == set(), found
