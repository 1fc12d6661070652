"""The bounds of exponential buckets. Pure.

Index `i` of schema `s` is `(2^((i-1)/2^s), 2^(i/2^s)]`; powers of two are exact.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from shim.model.values import Floats, Ints

SCHEMA: Final = 5
"""The schema everything is stored in."""
CLASSIC_SCHEMA: Final = 2
"""The schema of the boundaries that classic buckets have: 2^(i/4)."""


def upper_bounds(indices: Ints, schema: int = SCHEMA) -> Floats:
    """Return the upper bound of each bucket; the lower bound is that of `indices - 1`."""
    if schema <= 0:
        powers: Floats = np.ldexp(1.0, indices << -schema)
        return powers
    fraction = np.exp2((indices & ((1 << schema) - 1)) / (1 << schema))
    with np.errstate(over="ignore"):  # the highest bucket ends at 2^1024
        bounds: Floats = np.ldexp(fraction, indices >> schema)
    return bounds


def coarser_index(indices: Ints, schema: int) -> Ints:
    """Return the bucket of `schema` (<= 5) that contains a bucket of schema 5."""
    return ((indices - 1) >> (SCHEMA - schema)) + 1
