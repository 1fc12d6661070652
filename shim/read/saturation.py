"""Saturates sums of stored state that overflow at the largest number, as agents and indexers do.

Stored numbers are finite. So an infinity in a merged sum is an overflow, in ClickHouse's merges or here, and
NaN is two infinities that cancel out. Pure.
"""

from __future__ import annotations

import sys
from typing import Final

import numpy as np

from shim.model.values import Floats

LARGEST: Final = sys.float_info.max


def held(sums: Floats) -> Floats:
    """Return the sums, each within the range of a float; the array itself when all are."""
    if np.isfinite(sums).all():
        return sums
    return np.nan_to_num(sums, nan=0.0, posinf=LARGEST, neginf=-LARGEST)
