"""Globs over dotted names: which patterns match `a.b.c`, and what their `*` stand for.

Owns the matching of statsd_exporter's glob mappings: a pattern and a name have equally many parts, parted by
dots; a part of the pattern is either `*`, which matches any part (an empty one too), or equal to the name's.

A tree over all patterns, so that a name costs no more than the patterns which begin as it does.
Pure.
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
    """Patterns, each with a value; equal patterns may come more than once."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, pattern: str, value: T) -> None:
        """Adds a pattern that `problem` has nothing to say about."""
        node = self._root
        for part in pattern.split("."):
            node = node.below.setdefault(part, _Node())
        node.values.append(value)

    def find(self, name: str) -> Iterator[tuple[T, tuple[str, ...]]]:
        """(value, what its stars stand for) of each pattern that matches.

        Patterns that say more come first: from the left, an equal part goes before a `*`. Equal patterns come
        in the order they were added.
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
    same = node.below.get(part) if part != STAR else None  # a name's own `*` is matched by a pattern's only
    if same is not None:
        yield from _walk(same, parts, at + 1, stars)
    star = node.below.get(STAR)
    if star is not None:
        yield from _walk(star, parts, at + 1, (*stars, part))


def problem(pattern: str) -> str | None:
    """What is wrong with a pattern, or None."""
    for part in pattern.split("."):
        if not part:
            return "a glob has no empty part between its dots"
        if STAR in part and part != STAR:
            return f"`*` stands for a whole part, not for a piece of one ({part!r}); see match_type: regex"
    return None
