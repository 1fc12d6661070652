"""Values as Go's fmt package writes them: `%v` and printf. Pure.

Source: Go 1.22 `fmt/print.go`, `fmt/format.go`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from shim.model.messages import quote
from shim.model.number_format import format_g

_VERB: Final = re.compile(
    r"%(?P<flags>[-+# 0]*)(?P<width>\d+)?(?:\.(?P<precision>\d*))?(?P<verb>.|$)", re.DOTALL
)
#: A longer width or precision is an error, as in Go.
_MAX_WIDTH: Final = 1_000_000
_MAX_OUTPUT: Final = 10_000
_FLOAT_VERBS: Final = frozenset("eEfFgG")
_INT_VERBS: Final[Mapping[str, str]] = {"d": "d", "x": "x", "X": "X", "o": "o", "b": "b"}


def go_type(value: Any) -> str:
    """Return Go's name of a value's type."""
    names = {bool: "bool", int: "int", float: "float64", str: "string", dict: "map[string]string"}
    return "<nil>" if value is None else names.get(type(value), "template.sample")


def go_text(value: Any) -> str:
    """Return a value as `%v` writes it."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case float():
            return format_g(value)
        case Mapping():
            return "map[" + " ".join(f"{k}:{go_text(value[k])}" for k in sorted(value)) + "]"
        case list() | tuple():
            return "[" + " ".join(map(go_text, value)) + "]"
    return str(value)


def sprint(values: Sequence[Any]) -> str:
    """Return values side by side, with a space between two that are not strings."""
    out = ""
    for i, value in enumerate(values):
        if i and not isinstance(value, str) and not isinstance(values[i - 1], str):
            out += " "
        out += _nil_or_text(value)
    return out


def sprintf(pattern: str, values: Sequence[Any]) -> str:
    """Return a text with its verbs replaced; mistakes show in the text, as in Go. Raises ValueError."""
    left = list(values)

    def replaced(found: re.Match[str]) -> str:
        verb = found["verb"]
        if not verb:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if not left:
            return f"%!{verb}(MISSING)"
        if max(int(found["width"] or 0), int(found["precision"] or 0)) > _MAX_OUTPUT:
            raise ValueError(f"printf: width or precision over {_MAX_OUTPUT}")
        return _padded(_formatted(left.pop(0), found), found)

    out = _VERB.sub(replaced, pattern)
    if left:
        out += "%!(EXTRA " + ", ".join(f"{go_type(v)}={_nil_or_text(v)}" for v in left) + ")"
    return out


def go_g(value: float, precision: int) -> str:
    """Return a float as `%.4g` with this precision writes it."""
    if not math.isfinite(value):
        return format_g(value)
    return format(value, f".{precision or 1}g")


def _nil_or_text(value: Any) -> str:
    return "<nil>" if value is None else go_text(value)


def _formatted(value: Any, found: re.Match[str]) -> str:
    verb = found["verb"]
    if verb == "v":
        return _nil_or_text(value)
    if verb == "T":
        return go_type(value)
    formatter: Callable[[Any, re.Match[str]], str | None] | None = {
        bool: _bool,
        int: _int,
        float: _float,
        str: _string,
    }.get(type(value))  # type: ignore[assignment]
    text = formatter(value, found) if formatter else None
    if text is None:
        return f"%!{verb}({go_type(value)}={_nil_or_text(value)})"
    return text


def _bool(value: bool, found: re.Match[str]) -> str | None:
    return go_text(value) if found["verb"] == "t" else None


def _int(value: int, found: re.Match[str]) -> str | None:
    verb = found["verb"]
    if verb == "c":
        return _character(value)
    if verb == "q":
        return f"'{_character(value)}'"
    if verb not in _INT_VERBS:
        return None
    return _signed(value >= 0, format(value, _INT_VERBS[verb]), found)


def _character(code: int) -> str:
    """Return a character; U+FFFD for a number that is none."""
    return chr(code) if 0 <= code < 0xD800 or 0xE000 <= code < 0x110000 else "\ufffd"


def _float(value: float, found: re.Match[str]) -> str | None:
    verb, given = found["verb"], found["precision"]
    if verb not in _FLOAT_VERBS:
        return None
    if not math.isfinite(value):
        text = format_g(value)
        return (
            text
            if "+" in found["flags"] or not math.isinf(value)
            else text.removeprefix("+")
            if value < 0
            else text
        )
    positive = math.copysign(1.0, value) > 0
    if verb in "gG" and given is None:
        text = format_g(value)
        return _signed(positive, text.upper() if verb == "G" else text, found)
    precision = int(given or 0) if given is not None else 6
    if verb in "gG":
        precision = precision or 1
    return _signed(positive, format(value, f".{precision}{verb}"), found)


def _signed(positive: bool, text: str, found: re.Match[str]) -> str:
    if positive and "+" in found["flags"]:
        return "+" + text
    return " " + text if positive and " " in found["flags"] else text


def _string(value: str, found: re.Match[str]) -> str | None:
    if found["precision"] is not None:
        value = value[: int(found["precision"] or 0)]
    match found["verb"]:
        case "s":
            return value
        case "q":
            return quote(value)
        case "x":
            return value.encode().hex()
        case "X":
            return value.encode().hex().upper()
    return None


def _padded(text: str, found: re.Match[str]) -> str:
    width, flags = int(found["width"] or 0), found["flags"]
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and found["verb"] not in "sqvT":
        sign = text[:1] if text[:1] in "+-" else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)
