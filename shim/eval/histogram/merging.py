"""Bringing histograms of different bucket ranges together. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shim.values import Bools, Floats, Histogram, Spans


def empty_histogram(steps: int) -> Histogram:
    """No series: present nowhere."""
    zero = np.zeros(steps)
    spans = Spans.empty(steps)
    return Histogram(np.zeros(steps, dtype=bool), zero, zero, zero, spans, spans)


def common_range(spans: Sequence[Spans]) -> tuple[int, int]:
    """First bucket index and number of buckets that hold all of `spans`."""
    used = [s for s in spans if s.counts.shape[1]]
    if not used:
        return 0, 0
    first = min(s.first for s in used)
    return first, max(s.first + s.counts.shape[1] for s in used) - first


def widened(spans: Spans, first: int, width: int) -> Floats:
    """The counts on the buckets `first .. first + width - 1`, which must hold them."""
    n = spans.counts.shape[1]
    if n == 0:
        return np.zeros((spans.counts.shape[0], width))
    if spans.first == first and n == width:
        return spans.counts
    out = np.zeros((spans.counts.shape[0], width))
    out[:, spans.first - first : spans.first - first + n] = spans.counts
    return out


def trimmed(spans: Spans) -> Spans:
    """Without the outer buckets that are empty at every step."""
    used = np.flatnonzero((spans.counts != 0).any(axis=0))
    if not len(used):
        return Spans.empty(spans.counts.shape[0])
    if used[0] == 0 and used[-1] + 1 == spans.counts.shape[1]:
        return spans
    return Spans(spans.first + int(used[0]), spans.counts[:, used[0] : used[-1] + 1])


def combine(parts: Sequence[Histogram]) -> Histogram:
    """The sum of the histograms at each step, of those that are present; present where any is."""
    if len(parts) == 1:
        return parts[0]
    present = np.any([h.present for h in parts], axis=0)
    return Histogram(
        present=present,
        count=_total([h.count for h in parts], parts),
        sum=_total([h.sum for h in parts], parts),
        zero=_total([h.zero for h in parts], parts),
        positive=_total_spans([h.positive for h in parts], parts),
        negative=_total_spans([h.negative for h in parts], parts),
    )


def where_present(histogram: Histogram, present: Bools) -> Histogram:
    """The same histogram, present only where it was and `present` is."""
    h = histogram
    return Histogram(h.present & present, h.count, h.sum, h.zero, h.positive, h.negative)


def _total(values: Sequence[Floats], parts: Sequence[Histogram]) -> Floats:
    out = np.zeros(values[0].shape)
    for value, histogram in zip(values, parts, strict=True):
        np.add(out, value, out=out, where=histogram.present)
    return out


def _total_spans(spans: Sequence[Spans], parts: Sequence[Histogram]) -> Spans:
    first, width = common_range(spans)
    out = np.zeros((spans[0].counts.shape[0], width))
    for one, histogram in zip(spans, parts, strict=True):
        n = one.counts.shape[1]
        if n:
            target = out[:, one.first - first : one.first - first + n]
            np.add(target, one.counts, out=target, where=histogram.present[:, None])
    return Spans(first, out)
