"""Numbers as Go's strconv writes them: always the shortest digits that read back the same. Pure.

Five forms, because Prometheus uses five: `float_text` in JSON, `plain_text` ('f') in `count_values` and in
scalars, `format_g` ('g') in messages, `scientific_text` ('e') in alerts, `openmetrics_text` in labels such as
`le`.
"""

from __future__ import annotations

import math
from decimal import Decimal

from agent.wire.number_text import format_g, openmetrics_text, scientific_text, special_text

__all__ = ["float_text", "format_g", "openmetrics_text", "plain_text", "scientific_text"]


def float_text(value: float) -> str:
    """Return one float as JSON has it: `5`, `0.1`, `1e+21`, `NaN`, `+Inf`.

    It has no exponent from 1e-6 to below 1e21. Source: util/jsonutil of Prometheus 3.x.
    """
    if not math.isfinite(value):
        return special_text(value)
    text = repr(value)
    if "e" in text and 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def plain_text(value: float) -> str:
    """Return one float without an exponent, however long, as Scalar.MarshalJSON in promql/value.go."""
    text = float_text(value)
    return format(Decimal(text), "f") if "e" in text else text
