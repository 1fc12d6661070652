"""Labels whose values are numbers: `le` of a classic histogram, `quantile` of a summary. Pure.

Matchers compare numbers, so `1`, `1.0` and `1e0` are one boundary; a label shows one canonical spelling.
"""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from shim.model.finite_regex import finite_strings
from shim.model.labels import Labels
from shim.model.matchers import Matcher
from shim.model.number_format import openmetrics_text

LE: Final = "le"
QUANTILE: Final = "quantile"

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_INFINITE = re.compile(r"([+-]?)inf(?:inity)?", re.ASCII | re.IGNORECASE)
_MAX_DIGITS: Final = 400


def number_text(value: float) -> str:
    """Return the canonical spelling: `1.0`, `0.5`, `1e+06`, `+Inf`; zero has no sign."""
    return openmetrics_text(value + 0.0)


def number_of(text: str) -> float | None:
    """Parse a label value as a number; None if it is not one, or NaN, which cannot be a boundary."""
    if len(text) > _MAX_DIGITS:
        return None
    if _NUMBER.fullmatch(text):
        return float(text)
    if found := _INFINITE.fullmatch(text):
        return -math.inf if found[1] == "-" else math.inf
    return None


def with_le(labels: Labels, le: str) -> Labels:
    """Return the labels of a histogram with the `le` of one of its buckets."""
    return with_label(labels, LE, le)


def with_label(labels: Labels, name: str, text: str) -> Labels:
    """Return the labels with one more."""
    place = bisect(labels, (name, ""))
    return (*labels[:place], (name, text), *labels[place:])


def named(matchers: Iterable[Matcher]) -> tuple[float, ...] | None:
    """Return the numbers that matchers name and all accept, ascending; None if no matcher names a value."""
    matchers = tuple(matchers)
    found: set[float] | None = None
    for matcher in matchers:
        if matcher.op == "=":
            value = number_of(matcher.value)
            names = frozenset[float]() if value is None else frozenset((value,))
        elif matcher.op == "=~":
            names = _numbers(matcher.value) or frozenset()
            if not names:
                continue
        else:
            continue
        found = (found or set()) | names
    return None if found is None else accepted(sorted(found), matchers)


def quantiles(matchers: Iterable[Matcher]) -> tuple[float, ...]:
    """Return the quantiles, from 0 to 1, that matchers on `quantile` name."""
    found = named(m for m in matchers if m.name == QUANTILE)
    return tuple(q for q in found or () if 0 <= q <= 1)


def accepted(values: Sequence[float], matchers: Sequence[Matcher]) -> tuple[float, ...]:
    """Return the numbers that every matcher accepts, in their order."""
    return tuple(v for v in values if all(_accepts(m, v) for m in matchers))


def _accepts(matcher: Matcher, value: float) -> bool:
    match matcher.op:
        case "=":
            return number_of(matcher.value) == value
        case "!=":
            return number_of(matcher.value) != value
        case "=~":
            return _regex_accepts(matcher, value)
        case "!~":
            return not _regex_accepts(Matcher(matcher.name, "=~", matcher.value), value)


def _regex_accepts(matcher: Matcher, value: float) -> bool:
    if value in (_numbers(matcher.value) or ()):
        return True
    return any(matcher.matches(text) for text in _spellings(value))


def _spellings(value: float) -> set[str]:
    """Return the spellings that clients commonly use for a number."""
    found = {number_text(value)}
    if math.isfinite(value):
        found |= {repr(value), repr(value).removesuffix(".0")}
    return found


def _numbers(pattern: str) -> frozenset[float] | None:
    """Return the numbers among the strings that a pattern matches; None if it matches infinitely many."""
    return _short_numbers(pattern) if len(pattern) <= _LONG else _long_numbers(pattern)


def _numbers_among(pattern: str) -> frozenset[float] | None:
    strings = finite_strings(pattern)
    return None if strings is None else frozenset(n for s in strings if (n := number_of(s)) is not None)


#: Few longer patterns are remembered: one may have a megabyte.
_LONG: Final = 1_000
_long_numbers: Final = lru_cache(maxsize=16)(_numbers_among)
_short_numbers: Final = lru_cache(maxsize=1024)(_numbers_among)
