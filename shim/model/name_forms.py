"""The forms of a name: as sent, as shown, and the other spellings that select it. Pure.

A StatsD name need not be a legacy Prometheus name (`http.requests`). Its underscore form has an underscore
for each character that such a name cannot have, and one more before a digit at its beginning. A name that
would lose letters of a script other than Latin has no underscore form: `温度` and `湿度` would both be `__`.
"""

from __future__ import annotations

import re
from typing import Final, Literal

Style = Literal["underscore", "utf8"]

_NOT_METRIC: Final = re.compile(r"[^a-zA-Z0-9_:]")
_NOT_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
#: Letters, marks and signs outside Latin and general punctuation: as underscores they would be lost.
_OTHER_SCRIPT: Final = re.compile("[^\0-\u024f\u1e00-\u1eff\u2000-\u206f]")
_ASCII_LETTER: Final = re.compile(r"[a-zA-Z]")
_MEANS_ANYTHING: Final = re.compile(r"[a-zA-Z0-9]")


def metric_form(name: str) -> str:
    """Return the underscore form of a metric: `http.requests` -> `http_requests`, `9lives` -> `_9lives`."""
    return _form(name, _NOT_METRIC)


def label_form(name: str) -> str:
    """As `metric_form`, for labels: colons go too."""
    return _form(name, _NOT_LABEL)


def metric_forms(name: str) -> tuple[str, ...]:
    """All that a metric's name answers to: itself, its underscore form, Prometheus' own escaping of it."""
    return _forms(name, _NOT_METRIC)


def label_forms(name: str) -> tuple[str, ...]:
    """As `metric_forms`, for labels."""
    return _forms(name, _NOT_LABEL)


def _form(name: str, refused: re.Pattern[str]) -> str:
    if not name.isascii() and (_OTHER_SCRIPT.search(name) or not _ASCII_LETTER.search(name)):
        return name
    replaced = refused.sub("_", name)
    return f"_{replaced}" if not replaced or replaced[0].isdigit() else replaced


def _forms(name: str, refused: re.Pattern[str]) -> tuple[str, ...]:
    if name and not name[0].isdigit() and not refused.search(name):
        return (name,)  # nearly all of them
    shown = _form(name, refused)
    escaped = refused.sub("_", name)  # Prometheus 3.x, underscore escaping: `9lives` is `_lives` there
    if escaped[:1].isdigit():
        escaped = f"_{escaped[1:]}"
    found = (name, shown, escaped) if _MEANS_ANYTHING.search(escaped) else (name, shown)
    return tuple(dict.fromkeys(found))
