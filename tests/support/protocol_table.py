"""docs/protocol.md: the protocol corpus as tables.

python -m tests.support.protocol_table    writes them there
"""

from __future__ import annotations

from typing import Final

from tests.corpus.cases import Case, Group, groups
from tests.support.markdown import ROOT, table, write_between

FILE: Final = ROOT / "docs" / "protocol.md"
MARK: Final = "tests.support.protocol_table"


def document() -> str:
    """Return a section for each group."""
    return "\n\n".join(map(_section, groups()))


def _section(group: Group) -> str:
    rows = [
        (_code(case.text), "<br>".join(map(_code, case.becomes)) or "nothing", _why(case), case.source)
        for case in group.cases
    ]
    return f"## {group.title}\n\n{group.text}\n\n{table(('line', 'becomes', 'why', 'source'), rows)}"


def _why(case: Case) -> str:
    return case.why.replace("<", "&lt;")


def _code(text: str) -> str:
    """Return a code span; one of nothing, or with blanks at both ends, would not show as it is."""
    if not text:
        return "(empty)"
    return f"` {text} `" if text[0] == text[-1] == " " else f"`{text}`"


if __name__ == "__main__":
    write_between(FILE, MARK, document())
