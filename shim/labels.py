"""Label sets: sorted tuples of pairs, so that they can be keys. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

Labels = tuple[tuple[str, str], ...]

NAME: Final = "__name__"
TYPE: Final = "__type__"
EMPTY: Final[Labels] = ()


def make(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> Labels:
    """Sorted, without the empty values (to Prometheus a label with no value is no label)."""
    return tuple(sorted((k, v) for k, v in dict(pairs).items() if v != ""))


def get(labels: Labels, name: str) -> str:
    """The value, or "" when the label is not there."""
    for k, v in labels:
        if k == name:
            return v
    return ""


def only(labels: Labels, names: Collection[str]) -> Labels:
    """The labels whose names are in `names` (`by`, `on`)."""
    return tuple(p for p in labels if p[0] in names)


def without(labels: Labels, names: Collection[str]) -> Labels:
    """The labels whose names are not in `names` (`without`, `ignoring`)."""
    return tuple(p for p in labels if p[0] not in names)


def without_name(labels: Labels) -> Labels:
    """The labels without `__name__`: what most functions and all arithmetic give."""
    return tuple(p for p in labels if p[0] != NAME)
