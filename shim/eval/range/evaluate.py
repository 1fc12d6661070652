"""Runs a range function over a grid of windows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim import labels as lbl
from shim.errors import BadData, Unsupported
from shim.eval.merge import relabelled, without_empty_rows
from shim.eval.range.registry import RANGE_FUNCTIONS
from shim.eval.range.signature import Cells, RangeFunction
from shim.eval.texts import not_a_counter
from shim.eval.windows import slices
from shim.grid import Grid
from shim.labels import Labels
from shim.values import Annotations, Ints, Samples, Scalar, Vector

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
) -> Vector:
    """`name(samples[window])` at every step.

    `grid` holds the times of evaluation, `ends_ms` (steps,), ascending, the ends of the windows where they
    differ (offset, @). `args` are the scalar arguments, one value per step.
    Raises Unsupported for an unknown function, BadData for a wrong number of arguments, ExecutionError for
    arguments it refuses and for series that differ in nothing but the name and overlap.
    """
    function = RANGE_FUNCTIONS.get(name)
    if function is None:
        raise Unsupported(f"function {name} is not supported")
    if len(args) != function.parameters:
        raise BadData(f"wrong number of arguments in call to {name}: {len(args) + 1}")
    times_ms = grid.times_ms
    ends = times_ms if ends_ms is None else ends_ms
    where = slices(samples, ends, window_ms)
    present = where.counts >= function.at_least
    steps = np.nonzero(present)[1]
    cells = Cells(
        samples,
        begin=where.begin[present],
        end=where.end[present],
        end_ms=ends[steps],
        eval_ms=times_ms[steps],
        width_ms=window_ms,
        parameters=tuple(arg.values[steps] for arg in args),
    )
    if function.check is not None:
        function.check(cells, notes)
    values = np.zeros(present.shape)
    with np.errstate(all="ignore"):
        values[present] = function.compute(cells)
    result = without_empty_rows(Vector(grid.steps, samples.labels, values, present))
    _note_names(function, result.labels, notes)
    return result if function.keeps_name else relabelled(result, lbl.dropping_name)


def _note_names(function: RangeFunction, labels: Sequence[Labels], notes: Annotations) -> None:
    if not function.expects_counter:
        return
    for name in {lbl.get(one, lbl.NAME): None for one in labels}:
        if name and not name.endswith(COUNTER_SUFFIXES):
            notes.info(not_a_counter(name))
