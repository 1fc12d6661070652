"""quantile_over_time: of the samples of a window; NaN counts as the smallest value."""

from __future__ import annotations

from shim.eval.aggregation.quantiles import note_invalid_quantile
from shim.eval.kernel import row_quantile
from shim.eval.range.signature import Cells, RangeFunction
from shim.values import Annotations, Floats, Scalar


def _quantile(cells: Cells) -> Floats:
    q, values = cells.parameters[0], cells.samples.values
    return cells.by_block(lambda block: row_quantile(q[block.cells], block.values(values), block.valid))


def _check(cells: Cells, notes: Annotations) -> None:
    note_invalid_quantile(Scalar(cells.parameters[0]), notes.argument(0))


FUNCTIONS = (RangeFunction("quantile_over_time", _quantile, args=("scalar", "matrix"), check=_check),)
