"""The effect of each operator on two floats, whole arrays at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from shim.model.values import Bools, Floats

ARITHMETIC: Final[Mapping[str, Callable[[Floats, Floats], Floats]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,  # the sign of the dividend, as Go's math.Mod
    "^": np.power,
    "atan2": np.arctan2,
}
COMPARISON: Final[Mapping[str, Callable[[Floats, Floats], Bools]]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
SETS: Final = frozenset({"and", "or", "unless"})


def calculate(op: str, left: Floats, right: Floats) -> Floats:
    """Compute an arithmetic operator."""
    with np.errstate(all="ignore"):
        return ARITHMETIC[op](left, right)


def compare(op: str, left: Floats, right: Floats) -> Bools:
    """Compute a comparison."""
    with np.errstate(all="ignore"):
        return COMPARISON[op](left, right)
