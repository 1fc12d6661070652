"""Fewer, wider buckets: schema 5 reduced to a coarser schema. Pure."""

from __future__ import annotations

import numpy as np

from shim.model.bucket_bounds import SCHEMA, coarser_index
from shim.model.values import Histogram, Spans


def reduced_spans(spans: Spans, schema: int) -> Spans:
    """Add up the buckets to those of `schema` (<= 5); `indices` then refer to that schema."""
    n = spans.counts.shape[1]
    if n == 0 or schema == SCHEMA:
        return spans
    target = coarser_index(spans.indices, schema)
    starts = np.flatnonzero(np.diff(target, prepend=target[0] - 1))
    return Spans(target[starts], np.add.reduceat(spans.counts, starts, axis=1))


def reduced(h: Histogram, schema: int) -> Histogram:
    """Return the histogram in buckets of `schema`, for display only: its spans are not of schema 5."""
    positive, negative = reduced_spans(h.positive, schema), reduced_spans(h.negative, schema)
    return Histogram(h.present, h.count, h.sum, h.zero, positive, negative)
