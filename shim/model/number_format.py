"""One number as Prometheus' JSON shows it. Pure.

Source: util/jsonutil of Prometheus 3.x over Go's strconv: the shortest digits that read back the same,
without an exponent from 1e-6 to below 1e21.
"""

from __future__ import annotations

import math
from decimal import Decimal


def float_text(value: float) -> str:
    """Return one float: `5`, `0.1`, `1e+21`, `NaN`, `+Inf`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text and 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def plain_text(value: float) -> str:
    """Return one float without an exponent, however long, as Scalar.MarshalJSON in promql/value.go."""
    text = float_text(value)
    return format(Decimal(text), "f") if "e" in text else text
