"""Prometheus' texts: annotations, errors and label sets. Pure.

Source: Prometheus 3.x `util/annotations`, `promql/engine.go`. shim/promql/positions.py appends the position
in the query, ` (1:6)`.
"""

from __future__ import annotations

import re

from shim.model import labels as lbl
from shim.model.labels import Labels
from shim.model.number_format import format_g

SAME_LABELSET = "vector cannot contain metrics with the same labelset"
MANY_TO_ONE = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
GROUPING_NOT_UNIQUE = "multiple matches for labels: grouping labels must ensure unique matches"

MIXED_IN_AGGREGATION = "PromQL warning: encountered a mix of histograms and floats for aggregation"
SORT_IN_RANGE = (
    "PromQL warning: sort is ineffective for range queries since results are always ordered by labels"
)
_MONOTONIC = (
    "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see "
    "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
)

_ESCAPES = (
    ("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), ("\a", "\\a"), ("\b", "\\b"),
    ("\f", "\\f"), ("\v", "\\v"),
)  # fmt: skip
_LEGACY_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


def invalid_quantile(q: float) -> str:
    """Warn that a quantile lies outside 0 to 1."""
    return f"PromQL warning: quantile value should be between 0 and 1, got {format_g(q)}"


def invalid_ratio(ratio: float, to: float) -> str:
    """Warn that a ratio lies outside -1 to 1 and is capped."""
    return (
        f"PromQL warning: ratio value should be between -1 and 1, got {format_g(ratio)}, "
        f"capping to {format_g(to)}"
    )


def ignored_histogram(aggregation: str) -> str:
    """Note that an aggregation ignored a histogram."""
    return f"PromQL info: ignored histogram in {aggregation} aggregation"


def incompatible_types(left: str, op: str, right: str) -> str:
    """Note that an operator is not defined for these two types."""
    return (
        f'PromQL info: incompatible sample types encountered for binary operator "{op}": {left} {op} {right}'
    )


def not_a_counter(name: str) -> str:
    """Note that a metric's name does not end like a counter's."""
    return (
        "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "
        + quote(name)
    )


def mixed_in_range(name: str) -> str:
    """Warn that a range holds floats and histograms."""
    return "PromQL warning: encountered a mix of histograms and floats for metric name " + quote(name)


def histograms_ignored(name: str) -> str:
    """Note that the histograms in a mixed range were ignored."""
    return (
        "PromQL info: ignored histograms in a range containing both floats and histograms for metric name "
        + quote(name)
    )


def not_a_gauge(name: str) -> str:
    """Warn that a native histogram is not a gauge histogram."""
    return "PromQL warning: this native histogram metric is not a gauge: " + quote(name)


def forced_monotonicity(name: str) -> str:
    """Note that classic buckets had to be made monotonic."""
    return _MONOTONIC + _for_metric(name)


def bad_bucket_label(value: str, name: str) -> str:
    """Warn that a classic bucket has no readable `le`."""
    text = f'PromQL warning: bucket label "le" is missing or has a malformed value of {quote(value)}'
    return text + _for_metric(name)


def mixed_classic_native(name: str) -> str:
    """Warn that a vector holds classic and native histograms of one name."""
    return "PromQL warning: vector contains a mix of classic and native histograms" + _for_metric(name)


def nan_in_quantile(name: str, *, result_nan: bool) -> str:
    """Note that histogram_quantile met NaN observations."""
    effect = "result is NaN" if result_nan else "result is skewed higher"
    return f"PromQL info: input to histogram_quantile has NaN observations, {effect}" + _for_metric(name)


def nan_in_fraction(name: str) -> str:
    """Note that histogram_fraction met NaN observations."""
    text = (
        "PromQL info: input to histogram_fraction has NaN observations, which are excluded from all fractions"
    )
    return text + _for_metric(name)


def duplicate_series(group: Labels, side: str, first: Labels, second: Labels) -> str:
    """Return the many-to-many error, with the two series sorted so that the text is stable."""
    a, b = sorted((format_labels(first), format_labels(second)))
    return (
        f"found duplicate series for the match group {format_labels(group)} on the {side} hand-side of the "
        f"operation: [{a}, {b}];many-to-many matching not allowed: matching labels must be unique on one side"
    )


def format_labels(labels: Labels) -> str:
    """Format as `{a="b", c="d"}`, like Labels.String() of Prometheus."""
    return "{" + ", ".join(f"{_label_name(k)}={quote(v)}" for k, v in lbl.unmarked(labels)) + "}"


def quote(text: str) -> str:
    """Quote as a Go string literal (%q)."""
    for plain, escaped in _ESCAPES:
        text = text.replace(plain, escaped)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(ord(c)) for c in text)
    return f'"{text}"'


def _escaped(code: int) -> str:
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _label_name(name: str) -> str:
    return name if _LEGACY_NAME.match(name) else quote(name)


def _for_metric(name: str) -> str:
    return f" for metric name {quote(name)}" if name else ""
