"""Queries and their errors, for tests of the language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shim.model.errors import BadData
from shim.plan.parse import parse
from shim.promql.lexer import EOF, Lexer
from shim.promql.modifiers import DurationContext
from tests.support.markdown import ROOT

#: Test files of Prometheus, beside this repository, and our own in the same language.
PROMETHEUS_FILES: Final = ROOT.parent / "shared" / "conformance" / "promqltest"
OUR_FILES: Final = ROOT / "tests" / "integration" / "promqltest"
_EVAL: Final = re.compile(
    r"\s*eval(?:_\w+)?\s+(?:instant\s+at\s+\S+|range\s+from\s+\S+\s+to\s+\S+\s+step\s+\S+)\s+(.*\S)"
)


def syntax_error(text: str, durations: DurationContext | None = None) -> str | None:
    """Return the parser's message about a text, None for a query."""
    try:
        parse(text, durations)
    except BadData as e:
        return str(e)
    return None


def tokens(text: str) -> list[str]:
    """Return the tokens of a query. Raises PromQLSyntaxError."""
    lexer, found = Lexer(text), []
    while (token := lexer.next()).kind != EOF:
        found.append(token.text)
    return found


def evaluated(folder: Path) -> Iterator[str]:
    """Yield the expressions that the test files in a folder evaluate."""
    for file in sorted(folder.rglob("*.test")):
        for line in file.read_text().splitlines():
            if found := _EVAL.match(line):
                yield found[1]
