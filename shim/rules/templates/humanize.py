"""The `humanize` family: numbers with prefixes, durations, percentages, times. Pure.

Source: Prometheus 3.x `template/template.go`.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shim.rules.templates.go_format import go_g, go_type

_LARGE: Final = ("k", "M", "G", "T", "P", "E", "Z", "Y")
_SMALL: Final = ("m", "u", "n", "p", "f", "a", "z", "y")


def as_float(value: Any) -> float:
    """Return a number, or the number in a text. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"can't convert {go_type(value)} to float")
    try:
        return float(value)
    except ValueError:
        raise ValueError(f'strconv.ParseFloat: parsing "{value}": invalid syntax') from None


def humanize(value: Any) -> str:
    """Return four digits and an SI prefix: `1.235M`, `5m`. Raises ValueError."""
    v = as_float(value)
    if v == 0 or not math.isfinite(v):
        return go_g(v, 4)
    return _large(v, 1000, _LARGE) if abs(v) >= 1 else _small(v)


def humanize1024(value: Any) -> str:
    """Return four digits and a binary prefix: `1.5Mi`. Raises ValueError."""
    v = as_float(value)
    if abs(v) <= 1 or not math.isfinite(v):
        return go_g(v, 4)
    return _large(v, 1024, ("ki", *(p + "i" for p in _LARGE[1:])))


def humanize_percentage(value: Any) -> str:
    """Return a ratio as a percentage: `12.5%`. Raises ValueError."""
    return go_g(as_float(value) * 100, 4) + "%"


def humanize_duration(value: Any) -> str:
    """Return seconds as a duration: `1d 2h 3m 4s`, `1.5s`, `20ms`. Raises ValueError."""
    v = as_float(value)
    if not math.isfinite(v):
        return go_g(v, 4)
    if abs(v) < 1:
        return ("0" if v == 0 else _small(v)) + "s"
    sign, v = ("-" if v < 0 else ""), abs(v)
    minutes, seconds = divmod(int(v), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    return f"{sign}{minutes}m {seconds}s" if minutes else f"{sign}{go_g(v, 4)}s"


def humanize_timestamp(value: Any) -> str:
    """Return seconds since 1970 as a time in UTC, as Go prints one. Raises ValueError."""
    v = as_float(value)
    if not math.isfinite(v):
        return go_g(v, 4)
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(v * 1e3))
    except OverflowError:
        raise ValueError(
            f"{v} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ) from None
    fraction = f".{at.microsecond:06d}".rstrip("0") if at.microsecond else ""
    return f"{at:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


def _large(v: float, base: int, prefixes: tuple[str, ...]) -> str:
    prefix = ""
    for larger in prefixes:
        if abs(v) < base:
            break
        prefix, v = larger, v / base
    return go_g(v, 4) + prefix


def _small(v: float) -> str:
    prefix = ""
    for smaller in _SMALL:
        if abs(v) >= 1:
            break
        prefix, v = smaller, v * 1000
    return go_g(v, 4) + prefix
