"""Reads the series and columns of a frame: keys of series as a Prometheus shows them, and lists of numbers.

Owns the identity of an exposed series: a tuple of the metric's name, then of label names and values. Names
are in their underscore form, unless `utf8`; series that meet in it have one key, so their totals are one.
Of labels of one series that meet in a form, one that has that very name wins, then the first. Pure.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator
from typing import Final, Literal

import msgspec

from agent.wire.frame import Frame
from agent.wire.underscore_forms import label_form, metric_form

#: Name, label name, label value, label name, label value, ... in the order of label names.
SeriesKey = tuple[str, ...]
#: A label of classic buckets, and the name under which a distribution shows its own tag of that name.
LE: Final = "le"
_OWN_LE: Final = "exported_le"
_NAME: Final = "__name__"


def series_keys(frame: Frame, *, utf8: bool) -> list[SeriesKey]:
    """Return the key of each series of a frame."""
    strings, columns = _strings(frame), frame.series
    at_name, at_key = column("I", columns.name), column("I", columns.tag_key)
    names = _forms(strings, at_name, _same if utf8 else metric_form)
    keys = _forms(strings, at_key, _label if utf8 else _shown_label)
    changed = {i for i, form in keys.items() if form != strings[i]}
    labels: list[str] = [""] * (2 * len(at_key))
    labels[::2] = [keys[i] for i in at_key]
    labels[1::2] = [strings[i] for i in column("I", columns.tag_value)]
    found, start = list[SeriesKey](), 0
    for name, tags in zip(at_name, column("H", columns.tag_count), strict=True):
        end = start + 2 * tags
        key = (names[name], *labels[start:end])
        if changed and not changed.isdisjoint(at_key[start // 2 : end // 2]):
            own = (i not in changed for i in at_key[start // 2 : end // 2])
            key = (names[name], *_merged(labels[start:end], own))
        found.append(key)
        start = end
    return found


def without_le(key: SeriesKey) -> SeriesKey:
    """Return the key of a distribution, whose own label `le` gets another name."""
    if LE not in key[1::2]:
        return key
    labels = [_OWN_LE if i % 2 == 0 and one == LE else one for i, one in enumerate(key[1:])]
    return (key[0], *_merged(labels, (label != _OWN_LE for label in labels[::2])))


def column(code: Literal["I", "H", "i", "q"], data: bytes) -> list[int]:
    """Decode a column of integers, which is little-endian."""
    found = array(code)
    found.frombytes(data)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tolist()


def numbers(data: bytes) -> list[float]:
    """Decode a column of floats, which is little-endian."""
    found = array("d")
    found.frombytes(data)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tolist()


def pairs(lengths: bytes, indexes: bytes, counts: bytes) -> Iterator[list[tuple[int, float]]]:
    """Yield the entries of each row of two ragged columns."""
    start, at, found = 0, column("i", indexes), numbers(counts)
    for length in column("I", lengths):
        end = start + length
        yield list(zip(at[start:end], found[start:end], strict=True))
        start = end


def _strings(frame: Frame) -> list[str]:
    """Return the strings; those of the native core are encoded already."""
    found = frame.strings
    return msgspec.msgpack.decode(found, type=list[str]) if isinstance(found, msgspec.Raw) else found


def _forms(strings: list[str], places: list[int], form: Callable[[str], str]) -> dict[int, str]:
    return {i: form(strings[i]) for i in set(places)}


def _same(name: str) -> str:
    return name


def _label(name: str) -> str:
    """Return the label of a tag; empty for the metric's own name, which no tag may replace."""
    return "" if name == _NAME else name


def _shown_label(name: str) -> str:
    return _label(label_form(name))


def _merged(labels: list[str], own: Iterator[bool]) -> list[str]:
    """Return labels, each name once and in order; those that had their name before win."""
    found: dict[str, str] = {}
    sure: set[str] = set()
    for name, value, is_own in zip(labels[::2], labels[1::2], own, strict=True):
        if is_own:
            found[name] = value
            sure.add(name)
        elif name and name not in sure:
            found.setdefault(name, value)
    return [text for pair in sorted(found.items()) for text in pair]
