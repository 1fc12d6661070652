"""Sliding windows over equal cells of time: sums, extremes, presence. Pure.

Sums never subtract: a running sum would leave rounding errors of values that have left the window. Windows of
1, 2, 4, ... cells are built by doubling and put together, in log2(width) passes. So integers stay exact, and
NaN or Inf in a cell affects only the windows that contain it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from shim.model.values import Bools, Floats

Array = npt.NDArray[Any]


def window_sums(cells: Floats, width: int, *, axis: int = -1, stride: int = 1) -> Floats:
    """Return sums of `width` neighbouring cells: result `k` covers cells `k*stride .. k*stride + width - 1`.

    The axis becomes `(n_cells - width) // stride + 1` long.

    Raises: ValueError for fewer cells than `width`.
    """
    moved = _prepared(cells, width, axis, stride)
    block = gcd(width, stride)
    if block > 1:
        usable = moved.shape[-1] // block * block
        moved = moved[..., :usable].reshape(*moved.shape[:-1], usable // block, block).sum(axis=-1)
    sums = _sum_windows(moved, width // block)
    return np.moveaxis(sums[..., :: stride // block], -1, axis)


def window_minima(cells: Floats, width: int, *, axis: int = -1, stride: int = 1) -> Floats:
    """Return minima of `width` neighbouring cells; NaN means "no value" and loses to any value."""
    return _idempotent(cells, width, axis, stride, np.fmin)


def window_maxima(cells: Floats, width: int, *, axis: int = -1, stride: int = 1) -> Floats:
    """Return maxima of `width` neighbouring cells; NaN means "no value" and loses to any value."""
    return _idempotent(cells, width, axis, stride, np.fmax)


def window_any(cells: Bools, width: int, *, axis: int = -1, stride: int = 1) -> Bools:
    """Return whether any of `width` neighbouring cells is true."""
    return _idempotent(cells, width, axis, stride, np.logical_or)


def _prepared(cells: Array, width: int, axis: int, stride: int) -> Array:
    if width < 1 or stride < 1:
        raise ValueError(f"window of width {width} and stride {stride}: expected at least 1 and 1")
    if cells.shape[axis] < width:
        raise ValueError(
            f"window of width {width}: expected at least that number of cells, got {cells.shape[axis]}"
        )
    return np.moveaxis(cells, axis, -1)


def _sum_windows(cells: Floats, width: int) -> Floats:
    """Sum windows of `width` cells, one per possible start, by the binary digits of `width`."""
    n_windows = cells.shape[-1] - width + 1
    power, size, done = cells, 1, 0
    result: Floats | None = None
    while True:
        if width & size:
            part = power[..., done : done + n_windows]
            result = part if result is None else result + part
            done += size
        if done == width:
            break
        power = power[..., :-size] + power[..., size:]
        size *= 2
    assert result is not None
    return result


def _idempotent(
    cells: Array, width: int, axis: int, stride: int, op: Callable[[Array, Array], Array]
) -> Array:
    """Combine windows by an operation that may see a cell twice: two overlapping powers of two."""
    power = _prepared(cells, width, axis, stride)
    size = 1
    while size * 2 <= width:
        power = op(power[..., :-size], power[..., size:])
        size *= 2
    n_windows = cells.shape[axis] - width + 1
    both = op(power[..., :n_windows], power[..., width - size : width - size + n_windows])
    return np.moveaxis(both[..., ::stride], -1, axis)
