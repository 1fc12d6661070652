"""Label sets: sorted tuples of pairs, so that they can be keys. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

Labels = tuple[tuple[str, str], ...]

NAME: Final = "__name__"
TYPE: Final = "__type__"
EMPTY: Final[Labels] = ()
#: Behind the value of `__name__`: this name goes when the query ends (see `dropping_name`).
_GOES: Final = "\0"
#: Stands among the labels of a series whose value is the size of a set (see `of_set`); sorts first.
_SET: Final = ("\0set", "1")


def make(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> Labels:
    """Sorted, without the empty values (to Prometheus a label with no value is no label)."""
    return tuple(sorted((k, v) for k, v in dict(pairs).items() if v != ""))


def get(labels: Labels, name: str) -> str:
    """The value, or "" when the label is not there."""
    for k, v in labels:
        if k == name:
            return v.removesuffix(_GOES) if k == NAME else v
    return ""


def only(labels: Labels, names: Collection[str]) -> Labels:
    """The labels whose names are in `names` (`by`, `on`)."""
    return tuple(p for p in labels if p[0] in names)


def without(labels: Labels, names: Collection[str]) -> Labels:
    """The labels whose names are not in `names` (`without`, `ignoring`)."""
    return tuple(p for p in labels if p[0] not in names and p != _SET)


def without_name(labels: Labels) -> Labels:
    """The labels without `__name__`."""
    return tuple(p for p in labels if p[0] != NAME and p != _SET)


def dropping_name(labels: Labels) -> Labels:
    """The labels with a name that goes when the query ends: what most functions give, and what is computed.

    Until then `label_replace` can still read it and `by (__name__)` group by it. Source: Prometheus 3.x with
    delayed name removal, which is what its own tests run with.
    """
    return tuple(
        (k, v + _GOES) if k == NAME and not v.endswith(_GOES) else (k, v) for k, v in labels if (k, v) != _SET
    )


def drops_name(labels: Labels) -> bool:
    """Whether the name goes when the query ends."""
    return any(k == NAME and v.endswith(_GOES) for k, v in labels)


def plain(labels: Labels) -> Labels:
    """The labels as they are compared: whether a name is to go makes no difference."""
    return tuple((k, v.removesuffix(_GOES)) if k == NAME else (k, v) for k, v in labels)


def finished(labels: Labels) -> Labels:
    """The labels as the answer shows them: without the names that were to go, and the marks of sets."""
    return tuple(p for p in labels if p != _SET and (p[0] != NAME or not p[1].endswith(_GOES)))


def of_set(labels: Labels) -> Labels:
    """The labels, marked: their value is the size of a set.

    What only picks or renames series keeps the mark, what computes with values loses it. `sum` must unite the
    members of sets (semantics.md), so it can tell by the mark where it would have to add sizes.
    """
    return labels if is_set(labels) else (_SET, *labels)


def is_set(labels: Labels) -> bool:
    """Whether the value is the size of a set."""
    return labels[:1] == (_SET,)
