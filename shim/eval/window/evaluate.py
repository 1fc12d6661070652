"""Evaluation of a range function over a grid of windows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim.eval.budget import Take, free
from shim.eval.histogram.merging import where_present
from shim.eval.merge import relabelled, without_empty_rows
from shim.eval.sample_windows import Slices, slices
from shim.eval.window.function import RangeFunction, WindowCells
from shim.eval.window.histograms import HistogramCells, spread
from shim.eval.window.mixed import Combined, Neighbours, TypedSamples, by_type, kept, neighbours
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model import labels as lbl
from shim.model.errors import BadData, Unsupported
from shim.model.grid import Grid
from shim.model.labels import Labels
from shim.model.messages import not_a_counter
from shim.model.values import Annotations, Bools, Floats, Histogram, Ints, Samples, Scalar, Vector

COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")


def range_function(
    name: str,
    samples: Samples,
    grid: Grid,
    window_ms: int,
    args: Sequence[Scalar],
    notes: Annotations,
    *,
    ends_ms: Ints | None = None,
    take: Take = free,
) -> Vector:
    """Evaluate `name(samples[window])` at every step.

    `grid` holds the times of evaluation; `ends_ms` (steps,), ascending, the ends of the windows where they
    differ (offset, @). `args` are the scalar arguments, one value per step. `take` is asked for memory and
    time.

    Raises: Unsupported for an unknown function, BadData for a wrong number of arguments, ExecutionError for
    arguments it rejects and for overlapping series that differ in nothing but the name.
    """
    function = RANGE_FUNCTIONS.get(name)
    if function is None or function.compute is None:
        raise Unsupported(f"function {name} is not supported")
    if len(args) != function.parameters:
        raise BadData(f"wrong number of arguments in call to {name}: {len(args) + 1}")
    times_ms = grid.times_ms
    ends = times_ms if ends_ms is None else ends_ms
    take(len(samples.labels) * len(ends))
    where = slices(samples, ends, window_ms)
    present = where.counts >= function.min_samples
    steps = np.nonzero(present)[1]
    cells = WindowCells(
        samples,
        begin=where.begin[present],
        end=where.end[present],
        end_ms=ends[steps],
        eval_ms=times_ms[steps],
        width_ms=window_ms,
        parameters=tuple(arg.values[steps] for arg in args),
        take=take,
    )
    if function.check is not None:
        function.check(cells.parameters, notes)
    values = np.zeros(present.shape)
    with np.errstate(all="ignore"):
        values[present] = function.compute(cells)
    floats = Vector(grid.steps, samples.labels, values, present)
    result = without_empty_rows(
        _with_histograms(function, floats, where, samples, ends, window_ms, notes, take)
    )
    _note_names(function, result.labels, notes)
    return result if function.keeps_name else relabelled(result, lbl.dropping_name)


def _with_histograms(
    function: RangeFunction,
    floats: Vector,
    where: Slices,
    samples: Samples,
    ends_ms: Ints,
    width_ms: int,
    notes: Annotations,
    take: Take,
) -> Vector:
    """Add the values of histograms to those of floats."""
    if not samples.histograms:
        return floats
    float_rows = {labels: row for row, labels in enumerate(samples.labels)}
    values, present = floats.values.copy(), floats.present.copy()
    rows: list[tuple[Labels, Floats, Bools]] = []
    histograms: list[tuple[Labels, Histogram]] = []
    series = zip(samples.histogram_labels, samples.histogram_times_ms, samples.histograms, strict=True)
    for labels, times_ms, h in series:
        take(0)
        native = _windows(times_ms, ends_ms, width_ms)
        found = _of_histograms(function, h, native, ends_ms, width_ms)
        row = float_rows.get(labels)
        if row is None:
            if isinstance(found, Histogram):
                histograms.append((labels, found))
            elif found is not None:
                rows.append((labels, found, native.there))
            continue
        first, last = samples.offsets[row], samples.offsets[row + 1]
        own, flat = samples.times_ms[first:last], samples.values[first:last]
        plain = TypedSamples(own, where.begin[row] - first, where.end[row] - first)
        if isinstance(function.mixed, Combined | Neighbours):
            assert found is not None
            assert not isinstance(found, Histogram)
            if isinstance(function.mixed, Combined):
                together = function.mixed.combine(values[row], found)
            else:
                together = neighbours(function.mixed, flat, h, plain, native)
            values[row] = by_type(together, values[row], found, plain, native)
            present[row] |= native.there
            continue
        metric = lbl.get(labels, lbl.NAME)
        of_floats, of_histograms = kept(function.mixed, plain, native, metric, notes.argument(0))
        present[row] &= of_floats
        if isinstance(found, Histogram):
            histograms.append((labels, where_present(found, of_histograms)))
    return Vector(
        floats.steps,
        [*floats.labels, *(labels for labels, _, _ in rows)],
        np.concatenate([values, *(v[None, :] for _, v, _ in rows)]),
        np.concatenate([present, *(p[None, :] for _, _, p in rows)]),
        [labels for labels, _ in histograms],
        [h for _, h in histograms],
    )


def _windows(times_ms: Ints, ends_ms: Ints, width_ms: int) -> TypedSamples:
    """Return the samples of one series in each window."""
    begin = np.searchsorted(times_ms, ends_ms - width_ms, side="right")
    return TypedSamples(times_ms, begin, np.searchsorted(times_ms, ends_ms, side="right"))


def _of_histograms(
    function: RangeFunction, h: Histogram, series: TypedSamples, ends_ms: Ints, width_ms: int
) -> Histogram | Floats | None:
    """Evaluate the function of the histograms of one series; None for a function that ignores them."""
    if function.histograms is None and function.histograms_to_floats is None:
        return None
    present = series.end - series.begin >= function.min_samples
    cells = HistogramCells(
        h, series.times_ms, series.begin[present], series.end[present], ends_ms[present], width_ms
    )
    with np.errstate(all="ignore"):
        if function.histograms is not None:
            return spread(function.histograms(cells), present)
        assert function.histograms_to_floats is not None
        values = np.zeros(len(present))
        values[present] = function.histograms_to_floats(cells)
        return values


def _note_names(function: RangeFunction, labels: Sequence[Labels], notes: Annotations) -> None:
    if not function.expects_counter:
        return
    for name in {lbl.get(one, lbl.NAME): None for one in labels}:
        if name and not name.endswith(COUNTER_SUFFIXES):
            notes.argument(0).info(not_a_counter(name))
