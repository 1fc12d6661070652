"""Numbers as Go's strconv writes them with an exponent: the shortest digits that read back the same. Pure.

Owned here because the agent's exposition writes `le` as Prometheus does; the shim's answers use the same.
"""

from __future__ import annotations

import math
from decimal import Decimal


def format_g(value: float) -> str:
    """Format as Go's %g: an exponent below 1e-4 and from 1e6 on."""
    if not math.isfinite(value):
        return special_text(value)
    value = float(value)  # NumPy's scalars have a repr of their own
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return repr(value).removesuffix(".0")
    return scientific_text(value)


def scientific_text(value: float) -> str:
    """Format as Go's %e with the shortest digits: `1e+00`. Source: alerts of Prometheus' API."""
    if not math.isfinite(value):
        return special_text(value)
    value = float(value)
    if value == 0:
        return "-0e+00" if math.copysign(1, value) < 0 else "0e+00"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    power = exponent + len(digits) - 1
    first, rest = str(digits[0]), "".join(map(str, digits[1:]))
    mantissa = f"{first}.{rest}" if rest else first
    return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def openmetrics_text(value: float) -> str:
    """Format a float as a label value: with a point or an exponent, so that `1` is `1.0` everywhere.

    Source: labels.FormatOpenMetricsFloat of Prometheus 3.x.
    """
    text = format_g(value)
    return text if not math.isfinite(value) or "." in text or "e" in text else text + ".0"


def special_text(value: float) -> str:
    """Format a NaN or an infinity."""
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"
