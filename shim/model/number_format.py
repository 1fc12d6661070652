"""Numbers as Go's strconv writes them: always the shortest digits that read back the same. Pure.

Five forms, because Prometheus uses five: `float_text` in JSON, `plain_text` ('f') in `count_values` and in
scalars, `format_g` ('g') in messages, `scientific_text` ('e') in alerts, `openmetrics_text` in labels such as
`le`.
"""

from __future__ import annotations

import math
from decimal import Decimal


def float_text(value: float) -> str:
    """Return one float as JSON has it: `5`, `0.1`, `1e+21`, `NaN`, `+Inf`.

    It has no exponent from 1e-6 to below 1e21. Source: util/jsonutil of Prometheus 3.x.
    """
    if not math.isfinite(value):
        return _special(value)
    text = repr(value)
    if "e" in text and 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def plain_text(value: float) -> str:
    """Return one float without an exponent, however long, as Scalar.MarshalJSON in promql/value.go."""
    text = float_text(value)
    return format(Decimal(text), "f") if "e" in text else text


def format_g(value: float) -> str:
    """Format as Go's %g: an exponent below 1e-4 and from 1e6 on."""
    if not math.isfinite(value):
        return _special(value)
    value = float(value)  # NumPy's scalars have a repr of their own
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return repr(value).removesuffix(".0")
    return scientific_text(value)


def scientific_text(value: float) -> str:
    """Format as Go's %e with the shortest digits: `1e+00`. Source: alerts of Prometheus' API."""
    if not math.isfinite(value):
        return _special(value)
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


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"
