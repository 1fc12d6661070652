"""Label sets: sorted tuples of pairs, so that they can be keys. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

Labels = tuple[tuple[str, str], ...]

NAME: Final = "__name__"
TYPE: Final = "__type__"
#: A hidden label: the use case of a series (indexer/intern/use_case.py).
USE_CASE: Final = "__use_case_id__"
#: Labels that are dropped together with the name. Source: Prometheus 3.x, schema.IsMetadataLabel.
METADATA: Final = frozenset({NAME, TYPE, "__unit__"})
EMPTY: Final[Labels] = ()
#: Marks stand among the labels of a series and sort first: no stored label's name begins with NUL.
#: This mark: the METADATA labels are dropped when the query ends (see `dropping_name`).
_GOES: Final = ("\0goes", "1")
#: And this one: the value is the size of a set (see `of_set`).
_SET: Final = ("\0set", "1")
MARKS: Final = frozenset({_GOES[0], _SET[0]})
_UNFINISHED: Final = METADATA | MARKS


def make(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> Labels:
    """Return the pairs sorted, without empty values (to Prometheus an empty label is an absent one)."""
    return tuple(sorted((k, v) for k, v in dict(pairs).items() if v != ""))


def get(labels: Labels, name: str) -> str:
    """Return the value, or "" if the label is absent."""
    for k, v in labels:
        if k == name:
            return v
    return ""


def only(labels: Labels, names: Collection[str]) -> Labels:
    """Return the labels whose names are in `names` (`by`, `on`), unmarked."""
    return tuple([p for p in labels if p[0] in names])


def without(labels: Labels, names: Collection[str]) -> Labels:
    """Return the labels whose names are not in `names`, without the mark of a set."""
    return tuple([p for p in labels if p[0] not in names and p != _SET])


def changed(labels: Labels, name: str, value: str) -> Labels:
    """Return the labels with one set, or removed by "". A name that is set stays: evalLabelReplace of 3.x."""
    pairs = dict(labels)
    pairs[name] = value
    if name == NAME:
        pairs.pop(_GOES[0], None)
    return make(pairs)


def dropping_name(labels: Labels) -> Labels:
    """Mark the labels so that their name is dropped when the query ends, as most functions do.

    Until then `label_replace` can still read it and `by (__name__)` group by it. Source: Prometheus 3.x with
    delayed name removal, with which its own tests run.
    """
    # Marks sort first; nearly no labels have this one, and this is done for every series of every query.
    kept = tuple([p for p in labels if p != _SET]) if is_set(labels) else labels
    if drops_name(kept) or not has_metadata(kept):
        return kept
    return (_GOES, *kept)


def drops_name(labels: Labels) -> bool:
    """Return whether the name is dropped when the query ends."""
    return labels[:1] == (_GOES,)


def has_metadata(labels: Labels) -> bool:
    """Return whether there is a name, or another label that is dropped with it."""
    for name, _ in labels:  # noqa: SIM110 - a generator takes three times as long, for every series
        if name in METADATA:
            return True
    return False


def unmarked(labels: Labels) -> Labels:
    """Return the labels without marks, as they are compared and reported."""
    if drops_name(labels):
        labels = labels[1:]
    return labels[1:] if labels[:1] == (_SET,) else labels


def final_labels(labels: Labels) -> Labels:
    """Return the labels as the answer shows them: without marks and without dropped labels."""
    if drops_name(labels):
        return tuple([p for p in labels if p[0] not in _UNFINISHED])
    return unmarked(labels)


def of_set(labels: Labels) -> Labels:
    """Mark the labels: their value is the size of a set.

    Operations that pick or rename series keep the mark; those that compute with values lose it. `sum` must
    unite the members of sets (semantics.md), and the mark tells it where it would have to add sizes.
    """
    if is_set(labels):
        return labels
    return (_GOES, _SET, *labels[1:]) if drops_name(labels) else (_SET, *labels)


def is_set(labels: Labels) -> bool:
    """Return whether the value is the size of a set."""
    return _SET in labels[:2]
