"""Chooses how many steps one answer of an export has, by the size of those before. Pure."""

from __future__ import annotations

from typing import Final

#: Characters of JSON of one answer: about 500,000 values of few series, 250,000 of 50,000.
MAX_CHARS: Final = 8 << 20
#: Steps of one answer: below the API's bound of points of a series.
_MAX_STEPS: Final = 5_000
_FIRST_STEPS: Final = 4
#: How fast steps grow and shrink.
_FACTOR: Final = 8


class AnswerPace:
    """The steps of the next answer."""

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        self._max_chars = max_chars
        self._max_steps = _MAX_STEPS
        self.steps = _FIRST_STEPS

    @property
    def is_least(self) -> bool:
        """Whether an answer has one step: it cannot be divided in time."""
        return self.steps == 1

    def is_too_large(self, chars: int) -> bool:
        """Return whether an answer that has come so far is given up, and asked for in parts."""
        return not self.is_least and chars > self._max_chars * 5 // 4

    def shrink(self) -> None:
        """Ask for less from now on, after an answer that was too large."""
        self._max_steps = max(1, self.steps // 2)
        self.steps = max(1, self.steps // _FACTOR)

    def answered(self, steps: int, chars: int) -> None:
        """Take an answer of `steps` into account, the last of which may have fewer than were asked for."""
        wanted = steps * self._max_chars // max(1, chars)
        self.steps = max(1, min(wanted, steps * _FACTOR, self._max_steps))
