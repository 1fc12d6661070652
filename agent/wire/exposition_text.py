"""The parts of Prometheus' text format that all its writers share: names, labels and heads of families. Pure.

Owns the escapes, so that no name, tag or help can begin another line or another label. Writers: the agent's
own metrics and its exposition, and the shim's `/federate`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: Prometheus' text format, which needs no library.
TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: The first characters of encoded names.
CODED: Final = "U__"
_VALUE: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


def escaped_value(text: str) -> str:
    """Escape the value of a label."""
    return text.translate(_VALUE)


def head_of(written: str, type_: str, help_: str, *, quotes: bool = False) -> str:
    """Return the HELP and TYPE lines of a family, whose name is written already; empty help is left out.

    OpenMetrics escapes `quotes` in help, too.
    """
    text = help_.translate(_VALUE if quotes else _HELP)
    return f"# HELP {written} {text}\n# TYPE {written} {type_}\n" if help_ else f"# TYPE {written} {type_}\n"


def written_name(name: str, form: str, *, utf8: bool) -> str:
    """Format a name for the reader; `form` is its underscore form.

    A name in another script has no underscore form: it is escaped for readers without UTF-8.
    Source: Prometheus 3.x, value encoding escaping.
    """
    if form == name and name.isascii():
        return name
    if utf8:
        return f'"{escaped_value(name)}"'
    return form if form.isascii() else coded_name(name)


def coded_name(name: str) -> str:
    """Encode a name in ASCII so that it can be decoded. Source: Prometheus 3.x, value encoding escaping."""
    return CODED + "".join(map(_coded, name))


def _coded(character: str) -> str:
    if character == "_":
        return "__"
    return character if character.isascii() and character.isalnum() else f"_{ord(character):X}_"


def series_of(name: str, pairs: Iterable[str]) -> str:
    """Join a written name and written labels: `name{label="value"}`, or `{"a.name","a.label"="value"}`."""
    if name.startswith('"'):
        return f"{{{','.join((name, *pairs))}}}"
    return f"{name}{{{','.join(pairs)}}}"
