"""The effect of an operator on two series, each floats or histograms, at every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shim.eval.histogram import arithmetic
from shim.eval.histogram.merging import where_present
from shim.eval.operators.floats import COMPARISON, calculate, compare
from shim.model.messages import incompatible_types
from shim.model.values import Annotations, Bools, Floats, Histogram


@dataclass(frozen=True, slots=True)
class Row:
    """One series: floats or a histogram. `present` applies to floats; a histogram has its own."""

    values: Floats
    present: Bools
    histogram: Histogram | None = None


def float_pairs(
    op: str, left: Floats, right: Floats, both: Bools, *, keep: Floats, return_bool: bool
) -> tuple[Floats, Bools]:
    """Return values and presence of `left op right` where `both` are present, any shape.

    A comparison without `bool` filters, and shows `keep`.
    """
    if op not in COMPARISON:
        return calculate(op, left, right), both
    holds = compare(op, left, right)
    if return_bool:
        return holds.astype(np.float64), both
    return keep, both & holds


def histogram_pair(op: str, left: Row, right: Row, *, return_bool: bool, notes: Annotations) -> Row | None:
    """Combine two series, at least one a histogram; return None for an undefined combination.

    Source: Prometheus 3.x vectorElemBinop. An undefined combination gives an info and no value.
    """
    both = _presence(left) & _presence(right)
    if not both.any():
        return None
    if op in ("==", "!=") and left.histogram is not None and right.histogram is not None:
        same = arithmetic.equals(left.histogram, right.histogram)
        holds = same if op == "==" else ~same
        if return_bool:
            return Row(holds.astype(np.float64), both)
        return _histogram_row(where_present(left.histogram, both & holds))
    result = _arithmetic(op, left, right)
    if result is None:
        notes.info(incompatible_types(_kind(left), op, _kind(right)))
        return None
    return _histogram_row(where_present(result, both))


def _arithmetic(op: str, left: Row, right: Row) -> Histogram | None:
    a, b = left.histogram, right.histogram
    if a is not None and b is not None:
        if op == "+":
            return arithmetic.add(a, b)
        return arithmetic.subtract(a, b) if op == "-" else None
    if a is not None:
        if op == "*":
            return arithmetic.multiply(a, right.values)
        return arithmetic.divide(a, right.values) if op == "/" else None
    if b is not None and op == "*":
        return arithmetic.multiply(b, left.values)
    return None


def _histogram_row(histogram: Histogram) -> Row:
    return Row(np.zeros(len(histogram.present)), histogram.present, histogram)


def _presence(row: Row) -> Bools:
    return row.present if row.histogram is None else row.histogram.present


def _kind(row: Row) -> str:
    return "float" if row.histogram is None else "histogram"
