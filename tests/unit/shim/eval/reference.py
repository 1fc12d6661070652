"""Prometheus' algorithms the naive way, one value after the other: shim/eval must equal them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from shim.eval.operators.matching import Matching
from shim.model import labels as lbl
from shim.model.labels import Labels

Point = tuple[int, float]  # (ms, value)
Sample = tuple[Labels, float]


def kahan(values: Sequence[float]) -> float:
    """Neumaier's sum, as kahansum.Inc."""
    total, rest = 0.0, 0.0
    for value in values:
        t = total + value
        if math.isinf(t):
            rest = 0.0
        elif abs(total) >= abs(value):
            rest += (total - t) + value
        else:
            rest += (value - t) + total
        total = t
    return total if math.isinf(total) else total + rest


def mean(values: Sequence[float]) -> float:
    total = kahan(values)
    if math.isinf(total) and all(math.isfinite(v) for v in values):
        return kahan([v / len(values) for v in values])
    return total / len(values)


def least(values: Sequence[float]) -> float:
    result = values[0]
    for value in values:
        if value < result or math.isnan(result):
            result = value
    return result


def greatest(values: Sequence[float]) -> float:
    return -least([-v for v in values])


def welford(values: Sequence[float]) -> float:
    """Return the population variance."""
    average, aux = 0.0, 0.0
    for n, value in enumerate(values, start=1):
        delta = value - average
        average += delta / n
        aux += delta * (value - average)
    return aux / len(values) if all(math.isfinite(v) for v in values) else math.nan


def quantile(q: float, values: Sequence[float]) -> float:
    if not values or math.isnan(q):
        return math.nan
    if q < 0 or q > 1:
        return math.copysign(math.inf, q)
    ordered = sorted(values, key=lambda v: (not math.isnan(v), v if not math.isnan(v) else 0))
    rank = q * (len(ordered) - 1)
    low = max(0, math.floor(rank))
    high = min(len(ordered) - 1, low + 1)
    weight = rank - math.floor(rank)
    return ordered[low] * (1 - weight) + ordered[high] * weight


def extrapolated(points: Sequence[Point], end_ms: int, range_ms: int, *, counter: bool) -> float | None:
    """increase (counter) or delta: extrapolatedRate without the division by the range."""
    if len(points) < 2:
        return None
    result = points[-1][1] - points[0][1]
    if counter:
        for (_, before), (_, value) in pairwise(points):
            if value < before:
                result += before
    to_start = (points[0][0] - (end_ms - range_ms)) / 1000
    to_end = (end_ms - points[-1][0]) / 1000
    sampled = (points[-1][0] - points[0][0]) / 1000
    average = sampled / (len(points) - 1)
    threshold = average * 1.1
    if to_start >= threshold:
        to_start = average / 2
    if counter and result > 0 and points[0][1] >= 0:
        to_start = min(to_start, sampled * (points[0][1] / result))
    if to_end >= threshold:
        to_end = average / 2
    return result * ((sampled + to_start + to_end) / sampled)


def regression(points: Sequence[Point], origin_ms: int) -> tuple[float, float]:
    if all(v == points[0][1] for _, v in points):
        first = points[0][1]
        return (math.nan, math.nan) if math.isinf(first) else (0.0, first)
    n = len(points)
    xs = [(t - origin_ms) / 1e3 for t, _ in points]
    ys = [v for _, v in points]
    sum_x, sum_y = kahan(xs), kahan(ys)
    covariance = kahan([x * y for x, y in zip(xs, ys, strict=True)]) - sum_x * sum_y / n
    slope = covariance / (kahan([x * x for x in xs]) - sum_x * sum_x / n)
    return slope, sum_y / n - slope * sum_x / n


def smoothing(values: Sequence[float], sf: float, tf: float) -> float:
    s0, s1, b = 0.0, values[0], values[1] - values[0]
    for i in range(1, len(values)):
        if i > 1:
            b = tf * (s1 - s0) + (1 - tf) * b
        s0, s1 = s1, sf * values[i] + (1 - sf) * (s1 + b)
    return s1


class NotUnique(Exception):
    """The vectors do not match uniquely."""


def subtract(left: Sequence[Sample], right: Sequence[Sample], matching: Matching) -> dict[Labels, float]:
    """VectorBinop for `-` at one step."""
    if not left or not right:
        return {}
    swapped = matching.card == "one-to-many"
    many, one = (right, left) if swapped else (left, right)
    partner: dict[Labels, Sample] = {}
    for sample in one:
        signature = matching.signature(sample[0])
        if signature in partner:
            raise NotUnique
        partner[signature] = sample
    found: dict[Labels, float] = {}
    matched: set[tuple[Labels, Labels]] = set()
    for name, value in many:
        signature = matching.signature(name)
        if signature not in partner:
            continue
        other = partner[signature]
        kept = {k: v for k, v in name if k != lbl.NAME}
        if matching.card == "one-to-one":
            kept = {k: v for k, v in kept.items() if (k in matching.labels) == matching.on}
        for label in matching.include:
            kept[label] = lbl.get(other[0], label)
        result = lbl.make(kept)
        key = (signature, () if matching.card == "one-to-one" else result)
        if key in matched or result in found:
            raise NotUnique
        matched.add(key)
        found[result] = other[1] - value if swapped else value - other[1]
    return found


Bucket = tuple[float, float, float]  # lower, upper, count


def histogram_quantile(q: float, count: float, total: float, buckets: Sequence[Bucket]) -> float:
    """HistogramQuantile, buckets in ascending order."""
    if q < 0 or q > 1:
        return math.copysign(math.inf, q)
    if count == 0 or math.isnan(q):
        return math.nan
    forward = math.isnan(total) or q < 0.5
    rank = q * count if forward else (1 - q) * count
    seen, bucket = 0.0, (0.0, 0.0, 0.0)
    for bucket in buckets if forward else list(buckets)[::-1]:
        if bucket[2] == 0:
            continue
        seen += bucket[2]
        if seen >= rank:
            break
    lower, upper, inside = bucket
    seen = min(seen, count)
    if seen < rank:
        return upper
    fraction = (rank - (seen - inside) if forward else seen - rank) / inside
    if lower <= 0 <= upper:
        return lower + (upper - lower) * fraction
    log_lower, log_upper = math.log2(abs(lower)), math.log2(abs(upper))
    if lower > 0:
        return 2 ** (log_lower + (log_upper - log_lower) * fraction)
    return -(2 ** (log_upper + (log_lower - log_upper) * (1 - fraction)))


def histogram_fraction(low: float, high: float, count: float, buckets: Sequence[Bucket]) -> float:
    """HistogramFraction, buckets in ascending order."""
    if count == 0 or math.isnan(low) or math.isnan(high):
        return math.nan
    if low >= high:
        return 0.0
    return (_rank(high, count, buckets) - _rank(low, count, buckets)) / count


def _rank(value: float, count: float, buckets: Sequence[Bucket]) -> float:
    rank = 0.0
    for lower, upper, inside in buckets:
        if lower >= value:
            return min(rank, count)
        if lower < value < upper:
            logs = [math.log2(abs(x)) for x in (lower, upper, value)]
            if value > 0:
                share = (logs[2] - logs[0]) / (logs[1] - logs[0])
            else:
                share = 1 - (logs[2] - logs[1]) / (logs[0] - logs[1])
            return min(rank + inside * share, count)
        rank += inside
    return count


def bucket_quantile(q: float, given: Sequence[tuple[float, float]]) -> float:
    """BucketQuantile of (upper bound, cumulative count), ascending."""
    if math.isnan(q):
        return math.nan
    if q < 0 or q > 1:
        return math.copysign(math.inf, q)
    if not given or given[-1][0] != math.inf or len(given) < 2:
        return math.nan
    bounds, counts = [b for b, _ in given], [given[0][1]]
    for _, count in given[1:]:
        before = counts[-1]
        near = count != before and abs(count - before) / (abs(count) + abs(before)) < 1e-12
        counts.append(before if near or count < before else count)
    if counts[-1] == 0:
        return math.nan
    rank = q * counts[-1]
    at = next((i for i in range(len(counts) - 1) if counts[i] >= rank), len(counts) - 1)
    if at == len(counts) - 1:
        return bounds[-2]
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    start, before = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    if counts[at] == before:
        return math.nan
    return start + (bounds[at] - start) * ((rank - before) / (counts[at] - before))
