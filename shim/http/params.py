"""Request parameters, read as Prometheus reads them (web/api/v1/api.go of 3.x), with its error texts. Pure.

Times are float seconds or RFC 3339, durations float seconds or `1h30m`; inside they are int milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from urllib.parse import unquote_to_bytes

from shim.model.durations import parse_duration
from shim.model.errors import BadData
from shim.model.grid import Grid
from shim.model.messages import quote

#: The defaults of `start` and `end`: everything (the range of a ClickHouse DateTime).
MIN_TIME_MS: Final = 0
MAX_TIME_MS: Final = (2**32 - 1) * 1000

_FLOAT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?:(Z)|([+-])(\d\d):(\d\d))", re.ASCII
)
_MAX_INT64: Final = 2**63 - 1
_INT64_DIGITS: Final = 19
#: Parameters of one URL or form.
MAX_FIELDS: Final = 10_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of a request: of its form first, then of its URL, each name as often as it was given."""

    values: Mapping[str, Sequence[str]]

    def get(self, name: str) -> str:
        """Return the first value, or ""."""
        given = self.values.get(name)
        return given[0] if given else ""

    def all(self, name: str) -> Sequence[str]:
        """Return all values in order."""
        return self.values.get(name, ())


def fields(encoded: bytes) -> list[tuple[str, str]]:
    """Decode a query string or a form: UTF-8 whatever its charset says, U+FFFD for other bytes.

    Raises BadData for too many fields. Source: Go's url.ParseQuery, but nothing is too odd to be decoded.
    """
    if encoded.count(b"&") >= MAX_FIELDS:
        raise BadData(f"error parsing form values: more than {MAX_FIELDS} fields")
    pairs = (part.partition(b"=") for part in encoded.split(b"&") if part)
    return [(_decoded(name), _decoded(value)) for name, _, value in pairs]


def _decoded(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode(errors="replace")


def integer(text: str) -> int:
    """Parse a 64-bit integer in ASCII digits, as Go's strconv.Atoi does. Raises ValueError."""
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        raise ValueError(f"strconv.Atoi: parsing {quote(text)}: invalid syntax")
    digits = text.lstrip("+-0")
    if len(digits) > _INT64_DIGITS or int(digits or "0") > _MAX_INT64:
        raise ValueError(f"strconv.Atoi: parsing {quote(text)}: value out of range")
    return -int(digits or "0") if text.startswith("-") else int(digits or "0")


def invalid(name: str, reason: str) -> BadData:
    """Return the error of a wrong parameter."""
    return BadData(f"invalid parameter {quote(name)}: {reason}")


def parse_time_ms(text: str) -> int:
    """Unix milliseconds. Raises ValueError with Prometheus' text."""
    if _FLOAT.fullmatch(text):
        ms = float(text) * 1000
        if abs(ms) < _MAX_INT64:
            return round(ms)
    elif match := _RFC3339.fullmatch(text):
        year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
        sign = -1 if match[9] == "-" else 1
        zone = timezone(sign * timedelta(hours=int(match[10] or 0), minutes=int(match[11] or 0)))
        try:
            at = datetime(year, month, day, hour, minute, second, tzinfo=zone)
        except ValueError:
            pass
        else:
            return (at - _EPOCH) // timedelta(milliseconds=1) + int((match[7] or "").ljust(9, "0")[:3])
    raise ValueError(f"cannot parse {quote(text)} to a valid timestamp")


def parse_duration_ms(text: str) -> float:
    """Parse a duration in milliseconds, with fractions (a step may be 0.1 ms). Raises ValueError."""
    if _FLOAT.fullmatch(text):
        ms = float(text) * 1000
        if abs(ms) * 1e6 > _MAX_INT64:
            raise ValueError(f"cannot parse {quote(text)} to a valid duration. It overflows int64")
        return ms
    try:
        return float(parse_duration(text))
    except ValueError:
        raise ValueError(f"cannot parse {quote(text)} to a valid duration") from None


def time_ms(params: Params, name: str, default_ms: int) -> int:
    """Parse an optional time. Raises BadData."""
    text = params.get(name)
    if not text:
        return default_ms
    try:
        return parse_time_ms(text)
    except ValueError as e:
        raise invalid(name, f"invalid time value for '{name}': {e}") from None


def limit(params: Params, name: str = "limit") -> int:
    """Parse a limit; 0: no limit. Raises BadData."""
    text = params.get(name)
    if not text:
        return 0
    try:
        number = integer(text)
    except ValueError as e:
        raise invalid(name, str(e)) from None
    if number < 0:
        raise invalid(name, "limit must be non-negative")
    return number


def grid(params: Params, max_points: int) -> Grid:
    """Read `start`, `end` and `step` of a range query. Raises BadData."""
    start_ms, end_ms = required_time(params, "start"), required_time(params, "end")
    if end_ms < start_ms:
        raise invalid("end", "end timestamp must not be before start time")
    try:
        step_ms = parse_duration_ms(params.get("step"))
    except ValueError as e:
        raise invalid("step", str(e)) from None
    if step_ms <= 0:
        raise invalid(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        )
    if (end_ms - start_ms) // step_ms > max_points:
        raise BadData(
            f"exceeded maximum resolution of {max_points:,} points per timeseries. "
            "Try decreasing the query resolution (?step=XX)"
        )
    return Grid(start_ms, end_ms, max(1, int(step_ms)))


def required_time(params: Params, name: str) -> int:
    """Parse a time in milliseconds that has to be given. Raises BadData."""
    try:
        return parse_time_ms(params.get(name))
    except ValueError as e:
        raise invalid(name, str(e)) from None


def timeout_s(params: Params, most_s: float) -> float:
    """Parse the timeout of the query, at most `most_s`. Raises BadData."""
    text = params.get("timeout")
    if not text:
        return most_s
    try:
        return min(parse_duration_ms(text) / 1000, most_s)
    except ValueError as e:
        raise invalid("timeout", str(e)) from None


def lookback_ms(params: Params) -> int | None:
    """Read `lookback_delta`; None when it is not given. Raises BadData."""
    text = params.get("lookback_delta")
    if not text:
        return None
    try:
        ms = int(parse_duration_ms(text))
    except ValueError as e:
        raise BadData(f"error parsing lookback delta duration: {e}") from None
    return ms if ms > 0 else None  # as Prometheus: 0 is "the server's"


def counter_lookback_ms(params: Params) -> int | None:
    """Read `counter_lookback`; None when it is not given, or 0. Raises BadData."""
    text = params.get("counter_lookback")
    if not text:
        return None
    try:
        ms = int(parse_duration_ms(text))
    except ValueError as e:
        raise invalid("counter_lookback", str(e)) from None
    return ms if ms > 0 else None


def granularity_s(params: Params) -> int | None:
    """Read `granularity` in whole seconds, at least 10; None when it is not given. Raises BadData."""
    text = params.get("granularity")
    if not text:
        return None
    try:
        seconds = parse_duration_ms(text) / 1000
    except ValueError as e:
        raise invalid("granularity", str(e)) from None
    if seconds < 10 or seconds % 10:
        raise invalid("granularity", "must be a multiple of 10 seconds")
    return int(seconds)


def classic(params: Params) -> bool | None:
    """Return whether `histograms` requests classic series, None when it is not given. Raises BadData."""
    text = params.get("histograms")
    if text not in ("", "native", "classic"):
        raise invalid("histograms", f'{quote(text)}: expected "native" or "classic"')
    return text == "classic" if text else None


def flag(params: Params, name: str) -> bool:
    """Return True for any value but "", 0 and false."""
    return params.get(name).lower() not in ("", "0", "false")


_UNICODE_ESCAPE = re.compile(r"_([0-9a-fA-F]{1,6})_|__|_")


def unescape_label_name(name: str) -> str:
    """Decode `U__a_2e_b` to `a.b` (Prometheus' escaping of UTF-8 names in URLs); keep other names."""
    if not name.startswith("U__"):
        return name
    out: list[str] = []
    at, text = 0, name[3:]
    while at < len(text):
        if text[at] != "_":
            out.append(text[at])
            at += 1
            continue
        if text.startswith("__", at):
            out.append("_")
            at += 2
            continue
        match = _UNICODE_ESCAPE.match(text, at)
        if match is None or match[1] is None or not _is_rune(int(match[1], 16)):
            return name  # not an escape after all: kept unchanged
        out.append(chr(int(match[1], 16)))
        at = match.end()
    return "".join(out)


def _is_rune(code: int) -> bool:
    return code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF
