"""A hint how to write a name that PromQL refuses in the form it was sent: `shop.requests`. Pure.

Prometheus' error names the dot only. The hint after it has the two ways to write the name.
"""

from __future__ import annotations

import re
from typing import Final

from shim.model.messages import quote
from shim.model.name_forms import label_form, metric_form

#: Strings and comments, which have no names, or a word that looks like a name that was sent.
_NAMES: Final = re.compile(
    r""""(?:\\.|[^"\\])*+(?:"|\\?\Z)|'(?:\\.|[^'\\])*+(?:'|\\?\Z)|`[^`]*+(?:`|\Z)|#[^\n]*"""
    r"""|(?<![\w.])(?P<name>[^\W\d][\w:]*+(?:[.]\w[\w:]*+(?:-\w[\w:]*+)*+)*+)""",
    re.DOTALL,
)
_OF_LABELS: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\Z", re.IGNORECASE)
_OPERATOR: Final = re.compile(r"\s*(?:=|!=|=~|!~)")


def hint(text: str, at: int) -> str:
    """Return the hint for an error at the place `at` of a query, "" without one."""
    for match in _NAMES.finditer(text):
        name = match["name"]
        if match.end() < at or not name or "." not in name:
            continue
        if match.start() > at:
            break
        ways = _ways(name, of_label=_is_label(text, match.start(), match.end()))
        return f" ({quote(name)} is written {' or '.join(ways)})"
    return ""


def _ways(name: str, *, of_label: bool) -> list[str]:
    form = label_form(name) if of_label else metric_form(name)
    utf8 = quote(name) if of_label else f"{{{quote(name)}}}"
    return [utf8] if form == name else [form, utf8]


def _is_label(text: str, start: int, end: int) -> bool:
    """Return whether a name is a label's: in a grouping, or before the operator of a matcher."""
    bare = _NAMES.sub(lambda m: m[0] if m["name"] else " " * len(m[0]), text[:start])
    depth = 0
    for i in range(len(bare) - 1, -1, -1):
        if bare[i] in ")]}":
            depth += 1
        elif bare[i] in "([{":
            if not depth:
                if bare[i] == "{":
                    return _OPERATOR.match(text, end) is not None
                return bare[i] == "(" and _OF_LABELS.search(bare[:i]) is not None
            depth -= 1
    return False
