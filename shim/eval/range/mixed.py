"""Windows that hold floats and histograms of one series, as a subquery of `a or b` can give them. Pure.

Source of behaviour: Prometheus 3.x `promql/functions.go`. What adds samples up refuses such a window with a
warning, what knows floats alone leaves histograms out and says so, what only looks at times or at neighbours
takes them as they come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from shim.eval.histogram.arithmetic import equals
from shim.eval.range.histograms import picked, resets_between
from shim.eval.texts import histograms_ignored, mixed_in_range
from shim.values import Annotations, Bools, Floats, Histogram, Ints

_REFUSED: Final = frozenset({"rate", "increase", "delta", "sum_over_time", "avg_over_time"})
_OF_TWO: Final = frozenset({"irate", "idelta"})
_NUMBERS: Final = {
    "count_over_time": np.add,
    "present_over_time": np.maximum,
    "ts_of_first_over_time": np.minimum,
    "ts_of_last_over_time": np.maximum,
}
_TURNS: Final = frozenset({"changes", "resets"})


@dataclass(frozen=True, slots=True)
class Kind:
    """The samples of one kind: times of all (samples,), and where each window begins and ends (steps,)."""

    times_ms: Ints
    begin: Ints
    end: Ints

    @property
    def there(self) -> Bools:
        return self.end > self.begin

    def time(self, which: int) -> Floats:
        """Of the sample from the beginning (0) or from the end (-1, -2) of each window; NaN for none."""
        place = self.begin + which if which >= 0 else self.end + which
        inside = (place >= self.begin) & (place < self.end)
        times = self.times_ms[np.where(inside, place, 0)] if len(self.times_ms) else np.zeros(len(place))
        return np.where(inside, times, np.nan)


def kept(name: str, floats: Kind, histograms: Kind, metric: str, notes: Annotations) -> tuple[Bools, Bools]:
    """At which steps the floats' and the histograms' own result counts, of a function that gives either."""
    both = floats.there & histograms.there
    everywhere = np.ones(len(both), dtype=bool)
    if not both.any():
        return everywhere, everywhere
    if name in _REFUSED:
        notes.warn(mixed_in_range(metric))
        return ~both, ~both
    if name in _OF_TWO:
        # NaN, for no such sample, is after nothing.
        of_floats = ~both | (floats.time(-2) > histograms.time(-1))
        of_histograms = ~both | (histograms.time(-2) > floats.time(-1))
        if not (of_floats | of_histograms).all():
            notes.warn(mixed_in_range(metric))
        return of_floats, of_histograms
    if name in ("last_over_time", "first_over_time"):
        which = 0 if name == "first_over_time" else -1
        older = floats.time(which) < histograms.time(which)
        of_floats = older if which == 0 else floats.time(which) > histograms.time(which)
        return ~both | of_floats, ~both | ~of_floats
    notes.info(histograms_ignored(metric))
    return everywhere, everywhere


def is_number(name: str) -> bool:
    """Whether floats and histograms together give one number."""
    return name in _NUMBERS or name in _TURNS


def number(
    name: str, of_floats: Floats, of_histograms: Floats, floats: Kind, histograms: Kind, turns: Floats | None
) -> Floats:
    """The function's value per step, given those of each kind alone; `turns` is for changes and resets."""
    both = floats.there & histograms.there
    together = turns if turns is not None else _NUMBERS[name](of_floats, of_histograms)
    return np.where(both, together, np.where(floats.there, of_floats, of_histograms))


def turns_among(
    name: str, values: Floats, samples: Histogram, floats: Kind, histograms: Kind
) -> Floats | None:
    """How often neighbours differ (changes) or fall (resets) in each window; None for other functions.

    A change of kind is both.
    """
    if name not in _TURNS:
        return None
    times = np.concatenate([floats.times_ms, histograms.times_ms])
    order = np.argsort(times, kind="stable")
    native = order >= len(values)
    place = np.where(native, order - len(values), order)
    turned = native[1:] != native[:-1]
    pairs = np.flatnonzero(~turned & ~native[1:])
    before, after = values[place[pairs]], values[place[pairs + 1]]
    with np.errstate(invalid="ignore"):
        moved = ~((before == after) | (np.isnan(before) & np.isnan(after)))
        turned[pairs] = after < before if name == "resets" else moved
    pairs = np.flatnonzero(~turned & native[1:] & native[:-1])
    if len(pairs):
        # Neighbours of one kind are neighbours among their own, too.
        fell = resets_between(samples)
        moves = ~equals(picked(samples, np.arange(1, len(fell) + 1)), picked(samples, np.arange(len(fell))))
        turned[pairs] = (fell if name == "resets" else moves)[place[pairs]]
    counted = np.concatenate([[0, 0], np.cumsum(turned)])  # of the pairs that end before each sample
    first = floats.begin + histograms.begin
    last = floats.end + histograms.end
    return np.where(last > first, counted[last] - counted[np.minimum(first + 1, last)], 0).astype(np.float64)
