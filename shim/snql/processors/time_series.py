"""The time series processor: ranges of time, and the functions that gather buckets. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from shim.snql.processors.function_names import INTERVALS, TIME_BUCKETS
from shim.snql.syntax import ColumnRef, Constant, Expression, FunctionCall

#: Columns that are the start of a bucket.
TIME_COLUMNS: Final = frozenset({"timestamp", "bucketed_time", "time"})
MAX_TIME_S: Final = 2**32 - 1
_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?)?(?:Z|[+-]00:?00)?", re.ASCII
)
_UTC: Final = frozenset({"UTC", "Universal", "Etc/UTC", "GMT"})


class NotATimeError(ValueError):
    """Its text names the problem and the accepted form."""


def time_s(of: Expression) -> int | None:
    """Return the Unix seconds of a constant time; None for another expression. Raises NotATimeError."""
    if isinstance(of, FunctionCall) and of.name in ("toDateTime", "toDateTime64") and of.args:
        if not all(isinstance(arg, Constant) for arg in of.args):
            return None
        zone = of.args[-1] if len(of.args) > 1 else None
        if isinstance(zone, Constant) and isinstance(zone.value, str) and zone.value not in _UTC:
            raise NotATimeError(f"time zone {zone.value!r}: expected 'UTC'")
        return time_s(of.args[0])
    if not isinstance(of, Constant) or isinstance(of.value, bool) or of.value is None:
        return None
    if isinstance(of.value, str):
        return _of_text(of.value)
    if not 0 <= of.value <= MAX_TIME_S:
        raise NotATimeError(f"time {of.value}: expected Unix seconds, 0 to {MAX_TIME_S}")
    return int(of.value)


def _of_text(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is not None:
        try:
            at = datetime(*(int(part or 0) for part in found.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]
        except ValueError:
            pass
        else:
            seconds = int(at.timestamp())
            if 0 <= seconds <= MAX_TIME_S:
                return seconds
    raise NotATimeError(f"time {text[:40]!r}: expected 'YYYY-MM-DD hh:mm:ss' in UTC, 1970 to 2106")


def bucket_s(of: Expression, column_s: int) -> int | None:
    """Return the seconds of the buckets that an expression gathers; None if it is not one of time.

    `column_s`: those of a column of time itself. Raises NotATimeError.
    """
    if isinstance(of, ColumnRef):
        return column_s if of.name in TIME_COLUMNS else None
    if not isinstance(of, FunctionCall) or not of.args:
        return None
    column = of.args[0]
    if not (isinstance(column, ColumnRef) and column.name in TIME_COLUMNS):
        return None
    zone = of.args[-1]
    if isinstance(zone, Constant) and isinstance(zone.value, str) and zone.value not in _UTC:
        raise NotATimeError(f"time zone {zone.value!r}: expected 'UTC'")
    if of.name in TIME_BUCKETS and len(of.args) <= 2:
        return TIME_BUCKETS[of.name]
    if of.name == "toStartOfInterval" and len(of.args) in (2, 3):
        return _interval_s(of.args[1])
    known = ", ".join((*TIME_BUCKETS, "toStartOfInterval"))
    raise NotATimeError(f"{of.name}() of a time: expected one of {known}")


def _interval_s(of: Expression) -> int:
    if isinstance(of, FunctionCall) and of.name in INTERVALS and len(of.args) == 1:
        count = of.args[0]
        if isinstance(count, Constant) and type(count.value) is int and 0 < count.value <= MAX_TIME_S:
            return count.value * INTERVALS[of.name]
    known = ", ".join(f"{name}(n)" for name in INTERVALS)
    raise NotATimeError(f"an interval: expected one of {known}")
