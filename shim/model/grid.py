"""The times at which a query is evaluated. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Grid:
    """Evenly spaced evaluation times, both ends included: `start_ms, start_ms + step_ms, ... <= end_ms`.

    An instant is a grid of one point (`start_ms == end_ms`); its step is 1 and means nothing.
    """

    start_ms: int
    end_ms: int
    step_ms: int

    def __post_init__(self) -> None:
        if self.step_ms <= 0 or self.end_ms < self.start_ms:
            raise ValueError(f"{self}: expected a positive step, and an end that is not before the start")

    @staticmethod
    def instant(at_ms: int) -> Grid:
        """Return the grid of one point."""
        return Grid(at_ms, at_ms, 1)

    @property
    def steps(self) -> int:
        """The number of points."""
        return (self.end_ms - self.start_ms) // self.step_ms + 1

    @property
    def times_ms(self) -> npt.NDArray[np.int64]:
        """The times, int64, shape (steps,)."""
        return self.start_ms + np.arange(self.steps, dtype=np.int64) * self.step_ms

    def shifted(self, ms: int) -> Grid:
        """Return the grid moved by `ms` (an offset moves it back: pass its negative)."""
        return Grid(self.start_ms + ms, self.end_ms + ms, self.step_ms)
