"""Range functions over samples, and their arguments. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim.eval.budget import Take
from shim.eval.window.evaluate import range_function
from shim.model.errors import BadData
from shim.model.grid import Grid
from shim.model.values import Annotations, Samples, Scalar, Value, Vector


def scalars(args: Sequence[Value]) -> list[Scalar]:
    """Check that the arguments of a range function are scalars. Raises BadData."""
    out = []
    for value in args:
        if not isinstance(value, Scalar):
            raise BadData("expected type scalar in the argument of a range function")
        out.append(value)
    return out


def over_windows(
    name: str,
    samples: Samples,
    grid: Grid,
    ends: Grid,
    window_ms: int,
    args: Sequence[Scalar],
    notes: Annotations,
    take: Take,
) -> Vector:
    """Evaluate a range function over samples; one step if `@` fixes the window and nothing else varies."""
    if args:
        ends_ms = np.broadcast_to(ends.times_ms, (grid.steps,))
        return range_function(name, samples, grid, window_ms, args, notes, ends_ms=ends_ms, take=take)
    return range_function(name, samples, ends, window_ms, (), notes, take=take)
