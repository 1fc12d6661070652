"""Globs over dotted names: finds the patterns that match `a.b.c`, and the parts that their `*` match.

Owns the matching of statsd_exporter's glob mappings. A pattern and a name have the same number of
dot-separated parts; a part of the pattern is either `*`, which matches any part (also an empty one), or equal
to the name's.

A tree over all patterns, so a name costs only as much as the patterns that share its prefix. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

STAR = "*"


class _Node(Generic[T]):
    __slots__ = ("below", "values")

    def __init__(self) -> None:
        self.below: dict[str, _Node[T]] = {}
        self.values: list[T] = []  # of the patterns that end here, in the order they were added


class Globs(Generic[T]):
    """Patterns, each with a value; equal patterns may be added more than once."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, pattern: str, value: T) -> None:
        """Add a pattern that `problem` accepts."""
        node = self._root
        for part in pattern.split("."):
            node = node.below.setdefault(part, _Node())
        node.values.append(value)

    def find(self, name: str) -> Iterator[tuple[T, tuple[str, ...]]]:
        """Yield (value, matches of its stars) of each pattern that matches.

        More specific patterns come first: from the left, an equal part precedes a `*`. Equal patterns come in
        the order they were added.
        """
        yield from _walk(self._root, name.split("."), 0, ())


def _walk(
    node: _Node[T], parts: list[str], at: int, stars: tuple[str, ...]
) -> Iterator[tuple[T, tuple[str, ...]]]:
    if at == len(parts):
        for value in node.values:
            yield value, stars
        return
    part = parts[at]
    same = node.below.get(part) if part != STAR else None  # a literal `*` in a name matches only a star
    if same is not None:
        yield from _walk(same, parts, at + 1, stars)
    star = node.below.get(STAR)
    if star is not None:
        yield from _walk(star, parts, at + 1, (*stars, part))


def problem(pattern: str) -> str | None:
    """Return the problem with a pattern, or None."""
    for part in pattern.split("."):
        if not part:
            return "empty part between dots: expected text or `*` in each part"
        if STAR in part and part != STAR:
            return f"`*` within a part ({part!r}): expected `*` as a whole part, or match_type: regex"
    return None
