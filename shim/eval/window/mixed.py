"""Windows that hold floats and histograms of one series, as a subquery of `a or b` can give them. Pure.

Source: Prometheus 3.x `promql/functions.go`. A function that adds samples rejects such a window with a
warning. One that knows floats alone ignores the histograms with an info. One that only uses times or
neighbours accepts both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shim.model.messages import histograms_ignored, mixed_in_range
from shim.model.values import Annotations, Bools, Floats, Histogram, Ints


@dataclass(frozen=True, slots=True)
class RefusesMixed:
    """Give no value, and a warning: samples of two types do not add up."""


@dataclass(frozen=True, slots=True)
class LastTwo:
    """Use the type of the last two samples; give no value, and a warning, where they differ."""


@dataclass(frozen=True, slots=True)
class OneSample:
    """Use the type of the first or the last sample."""

    last: bool


@dataclass(frozen=True, slots=True)
class Combined:
    """Combine the number that the floats give with the one that the histograms give."""

    combine: Callable[[Floats, Floats], Floats]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Count neighbouring samples that differ in type, or that the type's own comparison is true for."""

    floats: Callable[[Floats, Floats], Bools]  # (before, after)
    histograms: Callable[[Histogram], Bools]  # of each sample but the first, with the one before it


Mixed = RefusesMixed | LastTwo | OneSample | Combined | Neighbours


@dataclass(frozen=True, slots=True)
class TypedSamples:
    """The samples of one type: times of all (samples,), and where each window begins and ends (steps,)."""

    times_ms: Ints
    begin: Ints
    end: Ints

    @property
    def there(self) -> Bools:
        """Whether each window has a sample."""
        return self.end > self.begin

    def time(self, which: int) -> Floats:
        """Return the time of sample `which` of each window (0: first, -1: last); NaN without that sample."""
        place = self.begin + which if which >= 0 else self.end + which
        inside = (place >= self.begin) & (place < self.end)
        times = self.times_ms[np.where(inside, place, 0)] if len(self.times_ms) else np.zeros(len(place))
        return np.where(inside, times, np.nan)


def kept(
    mixed: Mixed | None, floats: TypedSamples, histograms: TypedSamples, metric: str, notes: Annotations
) -> tuple[Bools, Bools]:
    """Return at which steps the floats' own result counts, and at which the histograms' own.

    `mixed` is the choice of a function that gives either; None for one that ignores histograms.
    """
    both = floats.there & histograms.there
    everywhere = np.ones(len(both), dtype=bool)
    if not both.any():
        return everywhere, everywhere
    match mixed:
        case RefusesMixed():
            notes.warn(mixed_in_range(metric))
            return ~both, ~both
        case LastTwo():
            # NaN, for a missing sample, is after nothing.
            of_floats = ~both | (floats.time(-2) > histograms.time(-1))
            of_histograms = ~both | (histograms.time(-2) > floats.time(-1))
            if not (of_floats | of_histograms).all():
                notes.warn(mixed_in_range(metric))
            return of_floats, of_histograms
        case OneSample(last):
            which = -1 if last else 0
            first, second = floats.time(which), histograms.time(which)
            of_floats = first > second if last else first < second
            return ~both | of_floats, ~both | ~of_floats
    notes.info(histograms_ignored(metric))
    return everywhere, everywhere


def by_type(
    together: Floats, of_floats: Floats, of_histograms: Floats, floats: TypedSamples, histograms: TypedSamples
) -> Floats:
    """Return `together` in windows that hold both types, elsewhere the number of the type that is there."""
    both = floats.there & histograms.there
    return np.where(both, together, np.where(floats.there, of_floats, of_histograms))


def neighbours(
    mixed: Neighbours, values: Floats, samples: Histogram, floats: TypedSamples, histograms: TypedSamples
) -> Floats:
    """Count the neighbours that differ in each window; a change of type counts."""
    times = np.concatenate([floats.times_ms, histograms.times_ms])
    order = np.argsort(times, kind="stable")
    native = order >= len(values)
    place = np.where(native, order - len(values), order)
    differ = native[1:] != native[:-1]
    pairs = np.flatnonzero(~differ & ~native[1:])
    with np.errstate(invalid="ignore"):
        differ[pairs] = mixed.floats(values[place[pairs]], values[place[pairs + 1]])
    pairs = np.flatnonzero(~differ & native[1:] & native[:-1])
    if len(pairs):
        # Neighbours of one type are neighbours among their own, too.
        differ[pairs] = mixed.histograms(samples)[place[pairs]]
    counted = np.concatenate([[0, 0], np.cumsum(differ)])  # of the pairs that end before each sample
    first = floats.begin + histograms.begin
    last = floats.end + histograms.end
    return np.where(last > first, counted[last] - counted[np.minimum(first + 1, last)], 0).astype(np.float64)
