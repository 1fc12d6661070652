"""fill, fill_left, fill_right: a value for a partner that a series does not have.

Source: Prometheus 3.x VectorBinop with FillValues. `fill_left` fills the "many" side and `fill_right` the
"one" side, for both directions of the group modifier: Prometheus swaps the sides of `group_right`, not the
values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from shim.eval.operators.matching import Matching, Operand, sides
from shim.model.labels import Labels
from shim.model.values import Bools, Vector


def filled(left: Vector, right: Vector, matching: Matching) -> tuple[Vector, Vector]:
    """Return both sides, with a float series of the fill value for each signature that only the other has.

    It is present at the steps where its signature has partners and its own side has no value. Its labels are
    those that were matched on.
    """
    a, b, signatures = sides(left, right, matching)
    fill = matching.fill
    here_a, here_b = a.signatures_present(len(signatures)), b.signatures_present(len(signatures))
    for_a, for_b = (fill.right, fill.left) if matching.card == "one-to-many" else (fill.left, fill.right)
    return (
        _with(left, a, signatures, here_b & ~here_a, for_a),
        _with(right, b, signatures, here_a & ~here_b, for_b),
    )


def _with(
    vector: Vector, side: Operand, signatures: Sequence[Labels], missing: Bools, value: float | None
) -> Vector:
    """Return the vector with its filled series after its floats."""
    rows = np.flatnonzero(missing.any(axis=1)).tolist()
    if value is None or not rows:
        return vector
    return replace(
        vector,
        labels=[*side.labels[: side.floats], *(signatures[row] for row in rows)],
        values=np.concatenate([vector.values, np.full((len(rows), vector.steps), value)]),
        present=np.concatenate([vector.present, missing[rows]]),
        ordered=False,
    )
