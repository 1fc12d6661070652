"""Native histograms as Prometheus' JSON: `{"count":"3","sum":"6","buckets":[[0,"1","2","3"]]}`. Pure.

Each bucket is `[rule, low, high, count]`; the rule says which ends belong to it: 0 the upper (positive
buckets), 1 the lower (negative ones), 3 both (the zero bucket). Empty buckets are left out, and so is
`buckets` when there are none. The zero bucket has the width it has in Prometheus, so that it can be drawn.
Source: util/jsonutil/marshal.go of Prometheus 3.x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from shim.http.number_json import float_tokens
from shim.model.bucket_bounds import upper_bounds
from shim.model.number_format import float_text
from shim.model.values import Floats, Histogram, Spans

_ZERO_THRESHOLD: Final = 2.0**-128
_SMALLEST: Final = 5e-324


def histogram_texts(histogram: Histogram) -> list[bytes]:
    """Return the JSON of each present point, in order."""
    steps = np.flatnonzero(histogram.present)
    below = _buckets(histogram.negative, steps.tolist(), negative=True)
    width = float_text(_zero_threshold(histogram)).encode()
    zero = [
        b'[3,"-%b","%b","%b"]' % (width, width, token) if token != b"0" else b""
        for token in float_tokens(histogram.zero[steps])
    ]
    above = _buckets(histogram.positive, steps.tolist(), negative=False)
    counts, sums = float_tokens(histogram.count[steps]), float_tokens(histogram.sum[steps])
    out: list[bytes] = []
    for count, sum_, *buckets in zip(counts, sums, below, zero, above, strict=True):
        inner = b",".join(b for b in buckets if b)
        tail = b',"buckets":[%b]' % inner if inner else b""
        out.append(b'{"count":"%b","sum":"%b"%b}' % (count, sum_, tail))
    return out


def _zero_threshold(histogram: Histogram) -> float:
    """Half the width of the zero bucket: less where smaller observations have buckets of their own.

    Source: DefZeroThreshold of client_golang, 2^-128.
    """
    firsts = [s.indices[0] for s in (histogram.positive, histogram.negative) if s.counts.shape[1]]
    lower = upper_bounds(np.array(firsts, dtype=np.int64) - 1).tolist()
    return max(min(_ZERO_THRESHOLD, *lower), _SMALLEST) if lower else _ZERO_THRESHOLD


def _buckets(spans: Spans, steps: Sequence[int], *, negative: bool) -> list[bytes]:
    """Return for each step its filled buckets from the lowest up, separated by commas."""
    if not spans.counts.shape[1]:
        return [b""] * len(steps)
    heads = _heads(spans, negative=negative)
    return [_row(heads, spans.counts[step], negative=negative) for step in steps]


def _heads(spans: Spans, *, negative: bool) -> list[bytes]:
    """Return the text before the count of each bucket."""
    indices = spans.indices
    low, high = float_tokens(upper_bounds(indices - 1)), float_tokens(upper_bounds(indices))
    if negative:
        return [b'[1,"-%b","-%b","' % pair for pair in zip(high, low, strict=True)]
    return [b'[0,"%b","%b","' % pair for pair in zip(low, high, strict=True)]


def _row(heads: Sequence[bytes], counts: Floats, *, negative: bool) -> bytes:
    filled = np.flatnonzero(counts)
    if negative:
        filled = filled[::-1]
    tokens = float_tokens(counts[filled])
    return b",".join([heads[i] + token + b'"]' for i, token in zip(filled.tolist(), tokens, strict=True)])
