"""The functions that Go's text/template has itself. Pure.

Source: Go 1.22 `text/template/funcs.go`. `and` and `or` are the evaluator's, since they evaluate lazily.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote_plus

from shim.rules.templates.go_format import go_text, go_type, sprint, sprintf

_JS: Final = str.maketrans(
    {"\\": r"\\", "'": r"\'", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
    | {c: f"\\u{ord(c):04X}" for c in "<>&="}
)


def truth(value: Any) -> bool:
    """Return whether `if` takes a value as true: not zero, not empty."""
    return value is not None and value not in (0, "", False) and value != [] and value != {}


def _comparable(a: Any, b: Any) -> None:
    if type(a) is not type(b):
        raise ValueError("incompatible types for comparison")
    if not isinstance(a, bool | int | float | str):
        raise ValueError("invalid type for comparison")


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise ValueError("missing argument for comparison")
    for other in others:
        _comparable(first, other)
    return any(first == other for other in others)


def _ne(a: Any, b: Any) -> bool:
    return not _eq(a, b)


def _lt(a: Any, b: Any) -> bool:
    _comparable(a, b)
    if isinstance(a, bool):
        raise ValueError("invalid type for comparison")
    return bool(a < b)


def _le(a: Any, b: Any) -> bool:
    return _lt(a, b) or _eq(a, b)


def _gt(a: Any, b: Any) -> bool:
    _comparable(a, b)
    return not _le(a, b)


def _ge(a: Any, b: Any) -> bool:
    _comparable(a, b)
    return not _lt(a, b)


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if not isinstance(value, list | tuple | Mapping):
        raise ValueError(f"len of type {go_type(value)}")
    return len(value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, "")
        elif isinstance(value, list | tuple) and isinstance(key, int):
            if not 0 <= key < len(value):
                raise ValueError(f"index out of range: {key}")
            value = value[key]
        else:
            raise ValueError(f"can't index item of type {go_type(value)}")
    return value


def _slice(value: Any, *ends: int) -> Any:
    if not isinstance(value, str | list) or any(not isinstance(end, int) for end in ends) or len(ends) > 2:
        raise ValueError(f"can't slice item of type {go_type(value)}")
    data = value.encode() if isinstance(value, str) else value
    start, end = (*ends, *(0, len(data))[len(ends) :])
    if not 0 <= start <= end <= len(data):
        raise ValueError(f"invalid slice index: {start} > {end}" if start > end else "index out of range")
    cut = data[start:end]
    return cut.decode(errors="replace") if isinstance(cut, bytes) else cut


def _printed(*values: Any) -> str:
    return sprint(values)


def _printf(pattern: str, *values: Any) -> str:
    return sprintf(pattern, values)


def _println(*values: Any) -> str:
    return " ".join(map(go_text, values)) + "\n"


BUILTINS: Final[Mapping[str, Callable[..., Any]]] = {
    "eq": _eq,
    "ge": _ge,
    "gt": _gt,
    "html": lambda *values: html.escape(sprint(values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "index": _index,
    "js": lambda *values: sprint(values).translate(_JS),
    "le": _le,
    "len": _len,
    "lt": _lt,
    "ne": _ne,
    "not": lambda value: not truth(value),
    "print": _printed,
    "printf": _printf,
    "println": _println,
    "slice": _slice,
    "urlquery": lambda *values: quote_plus(sprint(values)),
}
#: Functions that evaluate their arguments one by one, until one decides.
LAZY: Final = frozenset({"and", "or"})
