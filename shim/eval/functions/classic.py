"""Classic histograms in a vector: grouping of series with `le`, and arithmetic on them.

Source: Prometheus 3.x `promql/quantile.go` (BucketQuantile, BucketFraction) and resetHistograms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from shim.eval.histogram.merging import where_present
from shim.model import labels as lbl
from shim.model.labels import Labels
from shim.model.messages import bad_bucket_label, mixed_classic_native
from shim.model.values import Annotations, Bools, Floats, Histogram, Vector

LE = "le"
_SMALL_DELTA = 1e-12
_HEXADECIMAL = re.compile(r"[+-]?0[xX][0-9a-fA-F.]+[pP][+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class ClassicHistogram:
    """Cumulative counts of one histogram; bounds ascend, and equal ones are already added up."""

    labels: Labels  # with the name, without `le`
    upper: Floats  # (buckets,)
    counts: Floats  # (buckets, steps)
    present: Bools  # (buckets, steps)

    @property
    def there(self) -> Bools:
        """The steps at which any bucket is present, shape `(steps,)`."""
        return np.asarray(self.present.any(axis=0))


def split(
    vector: Vector, notes: Annotations
) -> tuple[list[ClassicHistogram], list[tuple[Labels, Histogram]]]:
    """Return the classic and the native histograms of a vector.

    A series without a usable `le` is dropped with a warning; so are both kinds where they share labels at a
    step.
    """
    buckets: dict[Labels, list[tuple[float, int]]] = {}
    for row, labels in enumerate(vector.labels):
        text = lbl.get(labels, LE)
        bound = parse_bound(text)
        if bound is None:
            notes.warn(bad_bucket_label(text, lbl.get(labels, lbl.NAME)))
        else:
            buckets.setdefault(lbl.without(labels, (LE,)), []).append((bound, row))
    classic = {labels: _assembled(vector, labels, rows) for labels, rows in buckets.items()}
    native = []
    for labels, histogram in zip(vector.histogram_labels, vector.histograms, strict=True):
        other = classic.get(labels)
        if other is not None and (both := histogram.present & other.there).any():
            notes.warn(mixed_classic_native(lbl.get(labels, lbl.NAME)))
            kept = other.present & ~both
            classic[labels] = ClassicHistogram(labels, other.upper, other.counts, kept)
            native.append((labels, where_present(histogram, ~both)))
        else:
            native.append((labels, histogram))
    return list(classic.values()), native


def parse_bound(text: str) -> float | None:
    """Parse the label `le` as Go's ParseFloat does (no blanks, no bare `_`); None if it is not a number."""
    if text != text.strip() or "_" in text or not text.isascii():
        return None
    try:
        return float.fromhex(text) if _HEXADECIMAL.fullmatch(text) else float(text)
    except ValueError:
        return None


Compute = Callable[[Floats, Floats, Sequence[Floats]], Floats]


def computed(histogram: ClassicHistogram, parameters: Sequence[Floats], compute: Compute) -> Floats:
    """Apply `compute(upper, counts, parameters)` to the buckets that are present at each step.

    Steps with the same buckets are computed together: bounds (b,), counts (b, n), each parameter (n,).
    """
    out = np.zeros(histogram.counts.shape[1])
    for buckets, steps in _patterns(histogram.present):
        counts = histogram.counts[np.ix_(buckets, steps)]
        out[steps] = compute(histogram.upper[buckets], counts, [p[steps] for p in parameters])
    return out


def monotonic(counts: Floats) -> tuple[Floats, Bools]:
    """Make the counts rise with their bounds; also return where more than rounding errors was repaired."""
    fixed = counts.copy()
    forced = np.zeros(counts.shape[1], dtype=bool)
    for i in range(1, len(fixed)):
        before, here = fixed[i - 1], fixed[i]
        with np.errstate(all="ignore"):
            small = np.abs(here - before) / (np.abs(here) + np.abs(before)) < _SMALL_DELTA
            falling = ~small & (here < before)
        forced |= falling
        fixed[i] = np.where(small | falling, before, here)
    return fixed, forced


def _assembled(vector: Vector, labels: Labels, rows: list[tuple[float, int]]) -> ClassicHistogram:
    """Add up rows of the same bound (`1` and `1.0`): one row per bound."""
    by_bound: dict[float, list[int]] = {}
    for bound, row in sorted(rows):
        by_bound.setdefault(bound, []).append(row)
    counts = [np.where(vector.present[r], vector.values[r], 0.0).sum(axis=0) for r in by_bound.values()]
    present = [vector.present[r].any(axis=0) for r in by_bound.values()]
    return ClassicHistogram(labels, np.array(list(by_bound)), np.array(counts), np.array(present))


def _patterns(present: Bools) -> Iterator[tuple[np.typing.NDArray[np.intp], np.typing.NDArray[np.intp]]]:
    """Yield the buckets that are present together, with their steps; steps without any are left out."""
    if present.all():
        yield np.arange(len(present)), np.arange(present.shape[1])
        return
    packed = np.packbits(present, axis=0).T
    patterns, which = np.unique(packed, axis=0, return_inverse=True)
    for i in range(len(patterns)):
        steps = np.flatnonzero(which.ravel() == i)
        buckets = np.flatnonzero(present[:, steps[0]])
        if len(buckets):
            yield buckets, steps
