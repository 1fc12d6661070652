"""breadth_over_time: the largest value minus the smallest. A function that the product does not have."""

from __future__ import annotations

import numpy as np

from shim.eval.sample_windows import Block
from shim.eval.window.function import RangeFunction, WindowCells
from shim.eval.window.stored import FromDeltas, FromObservations, UnionOfMembers
from shim.model.values import Floats


def _breadth(cells: WindowCells) -> Floats:
    values = cells.samples.values
    low = values if cells.samples.low is None else cells.samples.low
    high = values if cells.samples.high is None else cells.samples.high

    def compute(block: Block) -> Floats:
        largest: Floats = np.nanmax(block.marked(high), axis=-1) - np.nanmin(block.marked(low), axis=-1)
        return largest

    return cells.by_block(compute)


FUNCTIONS = (
    RangeFunction(
        "breadth_over_time",
        "The largest value minus the smallest",
        _breadth,
        experimental=True,
        counter=FromDeltas(),
        distribution=FromObservations(
            ("count", "min", "max"), lambda windows: windows.maxima("max") - windows.minima("min")
        ),
        members=UnionOfMembers(),
        gauge=("min", "max"),
    ),
)
