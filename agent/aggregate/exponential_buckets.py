"""Maps a value to its exponential bucket, exact at every edge.

Owns the bucket layout of distributions: Prometheus native histograms, schema 5 (factor 2^(1/32)). Index `i`
holds the values in `(2^((i-1)/32), 2^(i/32)]`. Logarithms are off by one bucket at the edges, so a value's
mantissa is compared with the 32 edges of one octave instead, each rounded *down* to a float. No float lies
between such an edge and the true (irrational) one, so the comparison is exact.

Pure. Source: Prometheus 3.x native histograms; docs/exactness.md.
"""

from __future__ import annotations

from bisect import bisect_left
from math import frexp, isqrt, ldexp
from typing import Final

#: Buckets per octave (schema 5).
PER_OCTAVE: Final = 32
#: Indexes of the smallest (subnormal) and the largest positive number.
MIN_INDEX: Final = -34_368
MAX_INDEX: Final = 32_768
_MANTISSA_BITS: Final = 53


def _octave_edges() -> tuple[float, ...]:
    """Compute the largest float not above `2^(j/32 - 1)`, for j in 0..31, with integers only."""
    edges = []
    for j in range(PER_OCTAVE):
        root = 1 << (j + PER_OCTAVE * (_MANTISSA_BITS - 1))
        for _ in range(5):  # the 32nd root, as five square roots: floor(sqrt(floor(x))) == floor(sqrt(x))
            root = isqrt(root)
        edges.append(ldexp(root, -_MANTISSA_BITS))
    return tuple(edges)


#: `EDGES[j]` is the upper edge of the j-th bucket of the octave `(0.25, 0.5] .. (0.5, 1]`, as a mantissa.
EDGES: Final = _octave_edges()


def index_of(value: float) -> int:
    """Return the bucket index of a positive finite `value` (subnormals too): -34368 .. 32768."""
    mantissa, exponent = frexp(value)
    return bisect_left(EDGES, mantissa) + PER_OCTAVE * (exponent - 1)
