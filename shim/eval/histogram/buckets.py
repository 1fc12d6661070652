"""A histogram as one table of buckets, from the lowest to the highest value. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from shim.eval.histogram.merging import trimmed
from shim.eval.histogram.schema import reduced_spans
from shim.model.bucket_bounds import SCHEMA, upper_bounds
from shim.model.values import Floats, Histogram, Ints, Spans

OPEN_LEFT: Final = 0
OPEN_RIGHT: Final = 1
CLOSED: Final = 3


@dataclass(frozen=True, slots=True)
class BucketTable:
    """Buckets in ascending order of value, always with the zero bucket (`zero` is its column)."""

    lower: Floats  # (buckets,)
    upper: Floats  # (buckets,)
    rule: Ints  # (buckets,) boundary rule of Prometheus' JSON: which ends belong to the bucket
    counts: Floats  # (steps, buckets)
    zero: int

    @property
    def centers(self) -> Floats:
        """The geometric mean of the bounds: negative below zero, 0 for the zero bucket."""
        return np.sign(self.upper) * np.sqrt(self.lower * self.upper)


def bucket_table(h: Histogram, schema: int = SCHEMA) -> BucketTable:
    """Return all buckets of the histogram in `schema` (<= 5) that are not always empty."""
    positive = reduced_spans(trimmed(h.positive), schema)
    negative = reduced_spans(trimmed(h.negative), schema)
    return _table(h, positive, negative, schema)


def reduced_table(h: Histogram, schema: int) -> BucketTable:
    """Return all buckets of a histogram that was read in `schema`."""
    return _table(h, trimmed(h.positive), trimmed(h.negative), schema)


def _table(h: Histogram, positive: Spans, negative: Spans, schema: int) -> BucketTable:
    up, down = positive.indices, negative.indices[::-1]
    zero = np.zeros(1)
    return BucketTable(
        lower=np.concatenate([-upper_bounds(down, schema), zero, upper_bounds(up - 1, schema)]),
        upper=np.concatenate([-upper_bounds(down - 1, schema), zero, upper_bounds(up, schema)]),
        rule=np.concatenate(
            [np.full(len(down), OPEN_RIGHT), np.array([CLOSED]), np.full(len(up), OPEN_LEFT)]
        ).astype(np.int64),
        counts=np.concatenate([negative.counts[:, ::-1], h.zero[:, None], positive.counts], axis=1),
        zero=len(down),
    )
