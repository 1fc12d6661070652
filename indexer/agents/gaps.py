"""Finds gaps in the frame numbers of an agent's run: frames that never came. Pure.

A number is missing when a later one is stored, or when the agent has finished with it. It is a gap once the
agent has finished with it: sent, refused or dropped. So frames that overtake each other or are resent make no
gap, and a frame that comes after all closes its gap. Numbers before the first one heard of are not judged: an
earlier process may have stored them.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

#: Ranges of missing numbers remembered per run; beyond it the oldest are only counted.
MAX_RANGES: Final = 64


class SequenceGaps:
    """The frame numbers of one run: those stored, and those that the agent has finished with."""

    __slots__ = ("_counted", "_first", "_high", "_last", "_over")

    def __init__(self) -> None:
        self._high: int | None = None  # the last number that is stored or missing; None: none heard of
        self._over: int | None = None  # the agent is done with numbers up to this; None: it does not say
        self._first: list[int] = []  # of ranges of missing numbers, ascending
        self._last: list[int] = []
        self._counted = 0  # missing numbers whose range is not remembered

    @property
    def judged(self) -> bool:
        """Whether the agent reports which frames it has finished with."""
        return self._over is not None

    @property
    def missing(self) -> int:
        """The number of frames that never came."""
        return self._counted + sum(last - first + 1 for first, last in self.ranges())

    def ranges(self) -> list[tuple[int, int]]:
        """Return the remembered ranges of numbers that never came, ascending."""
        over = self._over or 0
        return [
            (first, min(last, over))
            for first, last in zip(self._first, self._last, strict=True)
            if first <= over
        ]

    def stored(self, number: int) -> None:
        """Note a stored frame."""
        if self._high is None:
            self._high = number
        elif number > self._high:
            self._miss(self._high + 1, number - 1)
            self._high = number
        else:
            self._found(number)

    def told(self, made: int, over: int) -> None:
        """Note an agent's report: the number of frames made, and the last number it has finished with."""
        if self._high is None and not made:
            self._high = 0
        if self._high is not None and over > self._high:
            self._miss(self._high + 1, over)
            self._high = over
        self._over = max(over, self._over or 0)

    def _miss(self, first: int, last: int) -> None:
        if first > last:
            return
        if self._last and self._last[-1] == first - 1:
            self._last[-1] = last
        else:
            self._first.append(first)
            self._last.append(last)
        self._forget()

    def _found(self, number: int) -> None:
        at = bisect_right(self._first, number) - 1
        if at < 0 or number > self._last[at]:
            return
        first, last = self._first[at], self._last[at]
        rest = [(a, b) for a, b in ((first, number - 1), (number + 1, last)) if a <= b]
        self._first[at : at + 1] = [a for a, _ in rest]
        self._last[at : at + 1] = [b for _, b in rest]
        self._forget()

    def _forget(self) -> None:
        if len(self._first) > MAX_RANGES:
            self._counted += self._last.pop(0) - self._first.pop(0) + 1
