"""Times and durations of a command line: `90s`, `1h30m`, `1y`; `now-1h`, Unix seconds, RFC 3339. Pure."""

from __future__ import annotations

import argparse
import math
import re
from datetime import UTC, datetime
from typing import Final

from shim.model.durations import UNITS_MS

_DURATION: Final = re.compile(r"(\d++(?:\.\d++)?)(ms|s|m|h|d|w|y)?")
#: Unlike Prometheus' durations, also fractions, units in any order, and numbers without a unit (seconds).
_SECONDS: Final = {unit: ms / 1000 for unit, ms in UNITS_MS} | {"": 1}
_DIGITS: Final = re.compile(r"-?\d++(?:\.\d*+)?")
#: The last second of the year 9999, which RFC 3339 can write.
_MAX_S: Final = 253_402_300_799


def duration_s(text: str) -> float:
    """Return the seconds of `90`, `90s`, `1h`, `1h30m` or `1y` (365 days), for argparse."""
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a duration such as 90s, 5m, 1h30m or 1y")
    return sum(float(n) * _SECONDS[unit] for n, unit in _DURATION.findall(text))


def positive_duration_s(text: str) -> float:
    """Return the seconds of a duration above 0, for argparse."""
    seconds = duration_s(text)
    if not 0 < seconds < _MAX_S:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a duration above 0 such as 90s, 5m or 1y")
    return seconds


def time_s(text: str, now_s: float) -> float:
    """Return the Unix time of `now`, `now-1h`, `now+5m`, Unix seconds or RFC 3339, for argparse."""
    if relative := re.fullmatch(r"now(?:([+-])(.+))?", text.replace(" ", "")):
        shift = duration_s(relative[2]) if relative[2] else 0.0
        return now_s - shift if relative[1] == "-" else now_s + shift
    try:
        if _DIGITS.fullmatch(text):
            seconds = float(text)
        else:
            moment = datetime.fromisoformat(text.upper())
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        seconds = math.nan
    if not -_MAX_S <= seconds <= _MAX_S:
        expected = "expected now-1h, Unix seconds or 2026-11-28T10:00:00Z"
        raise argparse.ArgumentTypeError(f"{text!r}: {expected}")
    return seconds


def with_negative_values(argv: list[str], options: tuple[str, ...]) -> list[str]:
    """Return the arguments with `--range -5m` as `--range=-5m`: argparse takes -5m for an option."""
    out: list[str] = []
    for argument in argv:
        if out and out[-1] in options and re.match(r"-\d", argument):
            out[-1] = f"{out[-1]}={argument}"
        else:
            out.append(argument)
    return out


def utc(seconds: float) -> str:
    """Return a Unix time as `2026-11-28 10:00:00`; the number where the calendar ends."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.15g}"
