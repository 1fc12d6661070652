"""Numbers as Prometheus' JSON shows them. Pure.

Source: util/jsonutil of Prometheus 3.x over Go's strconv: shortest digits that read back the same, without an
exponent from 1e-6 to below 1e21; times as seconds with exactly three decimals, or none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec
import numpy as np

from shim.model.values import Bools, Floats, Ints

_encoder: Final = msgspec.json.Encoder()


def float_text(value: float) -> str:
    """One float: `5`, `0.1`, `1e+21`, `NaN`, `+Inf`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text and 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def plain_text(value: float) -> str:
    """One float without an exponent, however long: a scalar's (Scalar.MarshalJSON in promql/value.go)."""
    text = float_text(value)
    return format(Decimal(text), "f") if "e" in text else text


def float_tokens(values: Floats) -> list[bytes]:
    """Many floats, each as `float_text` shows it.

    msgspec writes the same shortest digits at C speed; only its whole numbers (`5.0`) and what is very large,
    very small or no number is put right afterwards.
    """
    if not len(values):
        return []
    text = _encoder.encode(values.tolist())[1:-1] + b","
    tokens = text.replace(b".0,", b",").split(b",")
    tokens.pop()
    for i in np.flatnonzero(_unusual(values)).tolist():
        tokens[i] = float_text(float(values[i])).encode()
    return tokens


def _unusual(values: Floats) -> Bools:
    size = np.abs(values)
    unusual: Bools = ~((size < 1e15) & ((size >= 1e-4) | (size == 0)))
    return unusual


def time_text(time_ms: int) -> str:
    """Seconds: `1763766000`, `1763766000.500`."""
    sign, time_ms = ("-", -time_ms) if time_ms < 0 else ("", time_ms)
    seconds, ms = divmod(time_ms, 1000)
    return f"{sign}{seconds}.{ms:03d}" if ms else f"{sign}{seconds}"


def time_tokens(times_ms: Ints | Sequence[int]) -> list[bytes]:
    """Many times, each as `time_text` shows it."""
    times = np.asarray(times_ms, dtype=np.int64)
    if len(times) and not (times % 1000).any():
        return _encoder.encode((times // 1000).tolist())[1:-1].split(b",")
    return [time_text(t).encode() for t in times.tolist()]
