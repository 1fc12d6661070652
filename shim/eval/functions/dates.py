"""minute, hour, day_of_week to year, in UTC; of the step's time when called without a vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from shim.eval.functions.signature import CallContext, Function, vector_of, with_values
from shim.model import labels as lbl
from shim.model.values import Floats, Ints, Value, Vector

Days = npt.NDArray[np.datetime64]

_LATEST_S = 1 << 53  # floats beyond it have no whole seconds
_DAY_S = 86400


def _of(name: str, compute: Callable[[Ints], Ints]) -> Function:
    """Return a function of Unix seconds; a value outside the calendar gives NaN."""

    def values(seconds: Floats) -> Floats:
        usable = np.abs(seconds) <= _LATEST_S
        whole = np.trunc(np.where(usable, seconds, 0.0)).astype(np.int64)
        return np.where(usable, compute(whole), np.nan)

    def apply(context: CallContext, args: Sequence[Value]) -> Value:
        if args:
            vector = vector_of(args[0])
            return with_values(vector, values(vector.values))
        now = values((context.grid.times_ms // 1000).astype(np.float64))[None, :]
        return Vector(context.grid.steps, [lbl.EMPTY], now, np.ones(now.shape, dtype=bool))

    return Function(name, ("vector",), "vector", apply, optional=1)


def _days(seconds: Ints) -> Days:
    return (seconds // _DAY_S).astype("datetime64[D]")


def _count(span: npt.NDArray[np.timedelta64]) -> Ints:
    return span.astype(np.int64)


def _day_of_month(seconds: Ints) -> Ints:
    days = _days(seconds)
    return _count(days - days.astype("datetime64[M]").astype("datetime64[D]")) + 1


def _day_of_year(seconds: Ints) -> Ints:
    days = _days(seconds)
    return _count(days - days.astype("datetime64[Y]").astype("datetime64[D]")) + 1


def _days_in_month(seconds: Ints) -> Ints:
    month = _days(seconds).astype("datetime64[M]")
    following = (month + np.timedelta64(1, "M")).astype("datetime64[D]")
    return _count(following - month.astype("datetime64[D]"))


FUNCTIONS = (
    _of("minute", lambda s: s // 60 % 60),
    _of("hour", lambda s: s // 3600 % 24),
    _of("day_of_week", lambda s: (s // _DAY_S + 4) % 7),  # 1970-01-01 was a Thursday; Sunday is 0
    _of("day_of_month", _day_of_month),
    _of("day_of_year", _day_of_year),
    _of("days_in_month", _days_in_month),
    _of("month", lambda s: _days(s).astype("datetime64[M]").astype(np.int64) % 12 + 1),
    _of("year", lambda s: _days(s).astype("datetime64[Y]").astype(np.int64) + 1970),
)
