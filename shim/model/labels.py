"""Label sets: sorted tuples of pairs, so that they can be keys. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

Labels = tuple[tuple[str, str], ...]

NAME: Final = "__name__"
TYPE: Final = "__type__"
#: What goes when a name goes. Source: Prometheus 3.x, schema.IsMetadataLabel.
METADATA: Final = frozenset({NAME, TYPE, "__unit__"})
EMPTY: Final[Labels] = ()
#: Marks stand among the labels of a series and sort first: no stored label's name begins with NUL.
#: This one: what is in METADATA goes when the query ends (see `dropping_name`).
_GOES: Final = ("\0goes", "1")
#: And this one: the value is the size of a set (see `of_set`).
_SET: Final = ("\0set", "1")
MARKS: Final = frozenset({_GOES[0], _SET[0]})
_UNFINISHED: Final = METADATA | MARKS


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
    """The labels whose names are in `names` (`by`, `on`), unmarked."""
    return tuple([p for p in labels if p[0] in names])


def without(labels: Labels, names: Collection[str]) -> Labels:
    """The labels whose names are not in `names`; not a set any more."""
    return tuple([p for p in labels if p[0] not in names and p != _SET])


def changed(labels: Labels, name: str, value: str) -> Labels:
    """The labels with one set, or taken away by "". A name that is set stays: evalLabelReplace of 3.x."""
    pairs = dict(labels)
    pairs[name] = value
    if name == NAME:
        pairs.pop(_GOES[0], None)
    return make(pairs)


def dropping_name(labels: Labels) -> Labels:
    """The labels with a name that goes when the query ends: what most functions give, and what is computed.

    Until then `label_replace` can still read it and `by (__name__)` group by it. Source: Prometheus 3.x with
    delayed name removal, which is what its own tests run with.
    """
    # Marks sort first; nearly no labels have this one, and this is done for every series of every query.
    kept = tuple([p for p in labels if p != _SET]) if is_set(labels) else labels
    if drops_name(kept) or not has_metadata(kept):
        return kept
    return (_GOES, *kept)


def drops_name(labels: Labels) -> bool:
    """Whether the name goes when the query ends."""
    return labels[:1] == (_GOES,)


def has_metadata(labels: Labels) -> bool:
    """Whether there is a name, or another label that would go along with it."""
    for name, _ in labels:  # noqa: SIM110 - a generator takes three times as long, for every series
        if name in METADATA:
            return True
    return False


def unmarked(labels: Labels) -> Labels:
    """The labels as they are compared and told about: unmarked."""
    if drops_name(labels):
        labels = labels[1:]
    return labels[1:] if labels[:1] == (_SET,) else labels


def final_labels(labels: Labels) -> Labels:
    """The labels as the answer shows them: unmarked, and without what was to go."""
    if drops_name(labels):
        return tuple([p for p in labels if p[0] not in _UNFINISHED])
    return unmarked(labels)


def of_set(labels: Labels) -> Labels:
    """The labels, marked: their value is the size of a set.

    What only picks or renames series keeps the mark, what computes with values loses it. `sum` must unite the
    members of sets (semantics.md), so it can tell by the mark where it would have to add sizes.
    """
    if is_set(labels):
        return labels
    return (_GOES, _SET, *labels[1:]) if drops_name(labels) else (_SET, *labels)


def is_set(labels: Labels) -> bool:
    """Whether the value is the size of a set."""
    return _SET in labels[:2]
