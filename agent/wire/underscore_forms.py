"""The underscore form of a name: the part of it that a legacy Prometheus name can show. Pure.

A StatsD name need not be a legacy Prometheus name (`http.requests`). Its underscore form has an underscore
for each character that such a name cannot have, and one more before a digit at its beginning. A name that
would lose letters of a script other than Latin has no underscore form: `温度` and `湿度` would both be `__`.

The agent's exposition and the shim's answers share these forms, so that a query means the same in both.
"""

from __future__ import annotations

import re
from typing import Final

NOT_METRIC: Final = re.compile(r"[^a-zA-Z0-9_:]")
NOT_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
#: Letters, marks and signs outside Latin and general punctuation: as underscores they would be lost.
_OTHER_SCRIPT: Final = re.compile("[^\0-\u024f\u1e00-\u1eff\u2000-\u206f]")
_ASCII_LETTER: Final = re.compile(r"[a-zA-Z]")


def metric_form(name: str) -> str:
    """Return the underscore form of a metric: `http.requests` -> `http_requests`, `9lives` -> `_9lives`."""
    return form_of(name, NOT_METRIC)


def label_form(name: str) -> str:
    """Return the form of a label as `metric_form` does of a metric: colons go too."""
    return form_of(name, NOT_LABEL)


def form_of(name: str, refused: re.Pattern[str]) -> str:
    """Return a name with an underscore for each refused character; itself if it has no such form."""
    if not name.isascii() and (_OTHER_SCRIPT.search(name) or not _ASCII_LETTER.search(name)):
        return name
    replaced = refused.sub("_", name)
    return f"_{replaced}" if not replaced or replaced[0].isdigit() else replaced
