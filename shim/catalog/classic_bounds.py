"""The boundaries that `x_bucket` shows where no matcher names them: one ladder for each metric.

A ladder has the boundaries that a mapping file gives the metric, else those of schema 2 between the smallest
and the largest observation that is stored of it; and `+Inf`. Neither other matchers nor the range of a query
change it, so that panels, rules and the label API agree. Reads two numbers of each series and day, and keeps
them for a few seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.aggregate.exponential_buckets import index_of
from shim.catalog.lru_cache import LruDict
from shim.catalog.tables import Tables
from shim.model.bucket_bounds import CLASSIC_SCHEMA, SCHEMA, upper_bounds
from shim.model.matchers import Matcher
from shim.model.numeric_labels import accepted, named
from shim.model.tenancy import Tenant

#: Boundaries of one ladder; where schema 2 would have more, a coarser schema is taken.
MAX_BOUNDS: Final = 256
_MAX_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Extent:
    """The smallest and the largest observation on each side of zero, by size; None for an empty side."""

    positive: tuple[float, float] | None
    negative: tuple[float, float] | None
    zero: bool

    def joined(self, other: Extent) -> Extent:
        """Return the extent of the observations of both."""
        return Extent(
            _joined(self.positive, other.positive),
            _joined(self.negative, other.negative),
            self.zero or other.zero,
        )


def _joined(a: tuple[float, float] | None, b: tuple[float, float] | None) -> tuple[float, float] | None:
    if a is None or b is None:
        return a or b
    return min(a[0], b[0]), max(a[1], b[1])


NOTHING: Final = Extent(None, None, zero=False)


def bounds_of(extent: Extent) -> tuple[float, ...]:
    """Return the boundaries, ascending; the last is +Inf.

    On either side an empty bucket ends the ladder towards zero, so that interpolation starts at the edge of
    the lowest bucket. Between them is `0.0` where zeros or negative observations are stored.
    """
    schema = CLASSIC_SCHEMA
    while (bounds := _bounds(extent, schema)) is None:
        schema -= 1
    return bounds


def _bounds(extent: Extent, schema: int) -> tuple[float, ...] | None:
    """Return the boundaries; None where there would be more than MAX_BOUNDS."""
    sides = [_side(side, schema) for side in (extent.negative, extent.positive)]
    if sum(map(len, sides)) + 2 > MAX_BOUNDS:
        return None
    with np.errstate(over="ignore"):
        down, up = (upper_bounds(np.array(side, dtype=np.int64), schema).tolist() for side in sides)
    middle = [0.0] if extent.zero or down else []
    found = [*(-b for b in reversed(down)), *middle, *up, math.inf]
    distinct = dict.fromkeys(found)  # the edge of the smallest numbers is 0, that of the largest infinite
    return tuple(bound for bound in distinct if bound > -math.inf)


def _side(side: tuple[float, float] | None, schema: int) -> range:
    """Return the indexes of the upper bounds, and of the lower bound of the first bucket."""
    if side is None:
        return range(0)
    first, last = (((index_of(v) - 1) >> (SCHEMA - schema)) + 1 for v in side)
    return range(first - 1, last + 1)


#: The boundaries that mapping files give metrics; none for most. Raises StoreError.
MappedBuckets = Callable[[Tenant, Sequence[int]], Collection[float]]


class ClassicBounds:
    """See the module. `tables` reads; extents are kept for `max_age_s`."""

    def __init__(
        self,
        tables: Tables,
        mapped: MappedBuckets,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tables = tables
        self._mapped = mapped
        self._max_age_s = max_age_s
        self._clock = clock
        self._kept: LruDict[tuple[Tenant, int], tuple[float, Extent]] = LruDict(_MAX_KEPT)

    def bounds(
        self, tenant: Tenant, metric_ids: Sequence[int], matchers: Sequence[Matcher], *, tag: str = ""
    ) -> tuple[float, ...]:
        """Return the boundaries that a selector of `x_bucket` with these matchers on `le` shows, ascending.

        `tag` is written into the statements (see Catalog.select). Raises StoreError, BadData on a bad regex.
        """
        wanted = named(matchers)
        if wanted is None:
            wanted = accepted(self.ladder(tenant, metric_ids, tag=tag), matchers)
        return tuple(bound for bound in wanted if bound > -math.inf)

    def ladder(self, tenant: Tenant, metric_ids: Sequence[int], *, tag: str = "") -> tuple[float, ...]:
        """Return the boundaries of the metrics that are shown under one name. Raises StoreError."""
        mapped = self._mapped(tenant, metric_ids)
        if mapped:
            return (*sorted({b for b in mapped if math.isfinite(b)}), math.inf)
        extents = self._extents(tenant, metric_ids, tag)
        found = NOTHING
        for metric_id in metric_ids:
            found = found.joined(extents[metric_id])
        return bounds_of(found)

    def prefetch(self, tenant: Tenant, metric_ids: Sequence[int]) -> None:
        """Read the extents of many metrics at once. Raises StoreError."""
        self._extents(tenant, metric_ids, "")

    def _extents(self, tenant: Tenant, metric_ids: Sequence[int], tag: str) -> dict[int, Extent]:
        now_s = self._clock()
        found: dict[int, Extent] = {}
        for metric_id in metric_ids:
            kept = self._kept.get((tenant, metric_id))
            if kept is not None and now_s - kept[0] < self._max_age_s:
                found[metric_id] = kept[1]
        missing = [i for i in metric_ids if i not in found]
        if missing:
            read = self._read(tenant, missing, tag)
            for metric_id in missing:
                found[metric_id] = read.get(metric_id, NOTHING)
                self._kept.put((tenant, metric_id), (now_s, found[metric_id]))
        return found

    def _read(self, tenant: Tenant, metric_ids: Sequence[int], tag: str) -> dict[int, Extent]:
        tables = self._tables.tagged(tag)
        rows = tables.extents(tenant, metric_ids)
        mixed = [int(row["metric_id"]) for row in rows if row["low"] <= 0 <= row["high"]]
        nearest = {}
        if mixed:  # where zero lies between, the smallest bucket of a side is in the maps alone
            for metric_id, positive, negative in tables.nearest_buckets(tenant, mixed).tolist():
                nearest[metric_id] = (positive, negative)
        out = {}
        for metric_id, low, high, above, below in rows.tolist():
            up, down = nearest.get(metric_id, (_FAR, _FAR))
            smallest = min(above, _edge(up))
            nearest_below = min(-below, _edge(down))
            out[metric_id] = Extent(
                (smallest, high) if high > 0 and math.isfinite(high) else None,
                (nearest_below, -low) if low < 0 and math.isfinite(low) else None,
                zero=low <= 0 <= high,
            )
        return out


#: The index of no bucket.
_FAR: Final = 2**31 - 1


def _edge(index: int) -> float:
    """Return a value inside the bucket of schema 5; infinite for no bucket."""
    if index == _FAR:
        return math.inf
    return float(upper_bounds(np.array([index], dtype=np.int64))[0]) * 0.99  # a bucket is 2 % wide
