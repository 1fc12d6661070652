"""Native histograms as classic series, for clients that do not know native histograms. Pure.

A histogram of `x` becomes `x_bucket{le}`, `x_sum` and `x_count`. One without a name (`rate(x[5m])`) becomes
its buckets alone, with the count as `+Inf`: its sum could not be distinguished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from shim.eval.histogram.fraction import counts_at_most
from shim.model import labels as lb
from shim.model.numeric_labels import LE, number_text, with_le
from shim.model.values import Floats, Histogram, Samples, Vector

#: The boundaries by shown name; "" for histograms without a name.
LadderOf = Callable[[str], Sequence[float]]


def as_classic(vector: Vector, ladder_of: LadderOf, check_cells: Callable[[int], None]) -> Vector:
    """Return the vector with its histograms as float series; existing series win over generated ones.

    `check_cells` is asked whether that number of values may be held.
    """
    if not vector.histograms:
        return vector
    labels, values, present = list(vector.labels), [vector.values], [vector.present]
    known, held = set(labels), vector.values.size
    for own, h in zip(vector.histogram_labels, vector.histograms, strict=True):
        bounds = ladder_of(lb.get(own, lb.NAME))
        held += (len(bounds) + 2) * vector.steps
        check_cells(held)
        made = classic_labels(own, bounds)
        new = [i for i, one in enumerate(made) if one not in known]
        labels += [made[i] for i in new]
        known.update(made)
        values.append(_values(h, bounds)[: len(made)][new])
        present.append(np.broadcast_to(h.present, (len(new), vector.steps)))
    return replace(
        vector,
        labels=labels,
        values=np.concatenate(values),
        present=np.concatenate(present),
        histogram_labels=(),
        histograms=(),
    )


def samples_as_classic(samples: Samples, ladder_of: LadderOf, check_cells: Callable[[int], None]) -> Samples:
    """Convert the samples of a range vector as `as_classic` does."""
    if not samples.histograms:
        return samples
    labels, times, values = list(samples.labels), [samples.times_ms], [samples.values]
    sizes = np.diff(samples.offsets).tolist()
    known, held = set(labels), samples.values.size
    series = zip(samples.histogram_labels, samples.histogram_times_ms, samples.histograms, strict=True)
    for own, times_ms, h in series:
        bounds = ladder_of(lb.get(own, lb.NAME))
        held += (len(bounds) + 2) * len(times_ms)
        check_cells(held)
        for one, row in zip(classic_labels(own, bounds), _values(h, bounds), strict=False):
            if one not in known:
                known.add(one)
                labels.append(one)
                times.append(times_ms)
                values.append(row)
                sizes.append(len(times_ms))
    offsets = np.cumsum([0, *sizes]).astype(np.int64)
    return Samples(labels, offsets, np.concatenate(times), np.concatenate(values))


_EXPORTED_LE: Final = f"exported_{LE}"


def classic_labels(labels: lb.Labels, bounds: Sequence[float]) -> list[lb.Labels]:
    """Return the label sets of the series: one per boundary, then sum and count if there is a name."""
    name, le = lb.get(labels, lb.NAME), lb.get(labels, LE)
    base = lb.changed(lb.changed(labels, LE, ""), _EXPORTED_LE, le) if le else labels
    buckets = lb.changed(base, lb.NAME, f"{name}_bucket") if name else base
    found = [with_le(buckets, number_text(bound)) for bound in bounds]
    if name:
        found += [lb.changed(labels, lb.NAME, f"{name}_{view}") for view in ("sum", "count")]
    return found


def _values(h: Histogram, bounds: Sequence[float]) -> Floats:
    """Return the buckets, the sum and the count, shape `(boundaries + 2, steps)`."""
    return np.concatenate([counts_at_most(np.array(bounds), h), h.sum[None, :], h.count[None, :]])
