"""Many numbers and times as Prometheus' JSON shows them. Pure.

Source: util/jsonutil of Prometheus 3.x: times are seconds with exactly three decimals, or none. One number is
in shim/model/number_format.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from shim.model.number_format import float_text
from shim.model.values import Bools, Floats, Ints

_encoder: Final = msgspec.json.Encoder()


def float_tokens(values: Floats) -> list[bytes]:
    """Format many floats, each as `float_text` does.

    msgspec writes the same shortest digits at C speed. Only whole numbers (`5.0`), very large and very small
    numbers, NaN and infinities are corrected afterwards.
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
    """Format seconds: `1763766000`, `1763766000.500`."""
    sign, time_ms = ("-", -time_ms) if time_ms < 0 else ("", time_ms)
    seconds, ms = divmod(time_ms, 1000)
    return f"{sign}{seconds}.{ms:03d}" if ms else f"{sign}{seconds}"


def time_tokens(times_ms: Ints | Sequence[int]) -> list[bytes]:
    """Many times, each as `time_text` shows it."""
    times = np.asarray(times_ms, dtype=np.int64)
    if len(times) and not (times % 1000).any():
        return _encoder.encode((times // 1000).tolist())[1:-1].split(b",")
    return [time_text(t).encode() for t in times.tolist()]
