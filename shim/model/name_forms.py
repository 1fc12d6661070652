"""The forms of a name: as sent, as shown, and the other spellings that select it. Pure.

agent/wire/underscore_forms.py defines the underscore form, which the agent's exposition shows, too.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from agent.wire.underscore_forms import NOT_LABEL, NOT_METRIC, form_of, label_form, metric_form

__all__ = ["Style", "label_form", "label_forms", "metric_form", "metric_forms"]

Style = Literal["underscore", "utf8"]

_MEANS_ANYTHING: Final = re.compile(r"[a-zA-Z0-9]")


def metric_forms(name: str) -> tuple[str, ...]:
    """Return all forms that a metric answers to: its name, the underscore form, Prometheus' escaping."""
    return _forms(name, NOT_METRIC)


def label_forms(name: str) -> tuple[str, ...]:
    """Return the forms of a label, as `metric_forms` does of a metric."""
    return _forms(name, NOT_LABEL)


def _forms(name: str, refused: re.Pattern[str]) -> tuple[str, ...]:
    if name and not name[0].isdigit() and not refused.search(name):
        return (name,)  # nearly all of them
    shown = form_of(name, refused)
    escaped = refused.sub("_", name)  # Prometheus 3.x, underscore escaping: `9lives` is `_lives` there
    if escaped[:1].isdigit():
        escaped = f"_{escaped[1:]}"
    found = (name, shown, escaped) if _MEANS_ANYTHING.search(escaped) else (name, shown)
    return tuple(dict.fromkeys(found))
