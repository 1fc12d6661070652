"""The storage selector: which rollup a span of buckets is read from. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shim.read.window_plan import LEVELS


@dataclass(frozen=True, slots=True)
class BucketSpan:
    """Stored buckets that start in `[lo_s, hi_s)`, gathered into cells of `bucket_s` (0: one cell of all).

    `granularity_s` is the rollup that the query means, `read_s` the one that it is read from. `snapped`:
    retention has dropped the first, so that times were moved to whole buckets of the second.
    """

    lo_s: int
    hi_s: int
    bucket_s: int
    granularity_s: int
    read_s: int
    snapped: bool = False

    @property
    def origin_s(self) -> int:
        """Start of the first cell."""
        return self.lo_s // self.bucket_s * self.bucket_s if self.bucket_s else self.lo_s

    @property
    def cells(self) -> int:
        """Number of cells."""
        if self.hi_s <= self.lo_s:
            return 0
        return -(-(self.hi_s - self.origin_s) // self.bucket_s) if self.bucket_s else 1

    def whole(self) -> BucketSpan:
        """Return the same buckets as one cell."""
        return BucketSpan(self.lo_s, self.hi_s, 0, self.granularity_s, self.read_s, self.snapped)


def select_storage(
    from_s: int, to_s: int, bucket_s: int, granularity_s: int, kept_from_s: Sequence[tuple[int, int]]
) -> BucketSpan:
    """Choose the coarsest rollup that has the same buckets as the one the query means.

    `kept_from_s`: by rollup, the oldest time that is still kept of it.
    """
    kept = dict(kept_from_s)
    lo_s, hi_s = _up(from_s, granularity_s), _up(to_s, granularity_s)
    same = [g for g in LEVELS if g >= granularity_s and not (lo_s % g or hi_s % g or bucket_s % g)]
    read_s = next((g for g in (*same, granularity_s) if kept.get(g, 0) <= lo_s), None)
    if read_s is not None:
        return BucketSpan(lo_s, hi_s, bucket_s, granularity_s, read_s)
    coarser = [g for g in reversed(LEVELS) if g > granularity_s]
    read_s = next((g for g in coarser if kept.get(g, 0) <= lo_s), LEVELS[0])
    return BucketSpan(
        _up(lo_s, read_s), _up(hi_s, read_s), bucket_s, granularity_s, read_s, snapped=read_s > granularity_s
    )


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
