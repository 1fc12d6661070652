"""Durations as Prometheus reads and writes them: `5m`, `1h30m`, `0`. Pure.

Source: prometheus/common `model.ParseDuration` and `Duration.String`.
"""

from __future__ import annotations

import re
from typing import Final

from shim.model.messages import quote

UNITS_MS: Final = (
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
)
_DURATION: Final = re.compile("".join(f"(?:([0-9]+){unit})?" for unit, _ in UNITS_MS))
#: The longest duration: int64 nanoseconds.
_MAX_MS: Final = 2**63 // 1_000_000
_MAX_DIGITS: Final = len(str(_MAX_MS))
#: Units that are written only if nothing remains below them.
_WHOLE_ONLY: Final = frozenset({"y", "w"})


def parse_duration(text: str) -> int:
    """Return the milliseconds of a duration. Raises ValueError with Prometheus' words."""
    if text == "0":
        return 0
    if not text:
        raise ValueError("empty duration string")
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"not a valid duration string: {quote(text)}")
    counts = [(n or "").lstrip("0") for n in found.groups()]
    too_long = any(len(n) > _MAX_DIGITS for n in counts)
    ms = 0 if too_long else sum(int(n or 0) * unit for n, (_, unit) in zip(counts, UNITS_MS, strict=True))
    if too_long or ms > _MAX_MS:
        raise ValueError("duration out of range")
    return ms


def format_duration(ms: int) -> str:
    """Return the shortest text of a duration, as Prometheus writes it: `1d`, `1h30m`, `0s`."""
    if ms == 0:
        return "0s"
    out, rest = "", ms
    for unit, unit_ms in UNITS_MS:
        if unit in _WHOLE_ONLY and rest % unit_ms:
            continue
        if count := rest // unit_ms:
            out += f"{count}{unit}"
            rest -= count * unit_ms
    return out
