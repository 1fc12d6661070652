"""The functions of SnQL that are not aggregates: of columns, one value a row. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from shim.model.matchers import compile_regex
from shim.snql.columns import (
    NUMERIC,
    ColumnTypeError,
    ResultColumn,
    flags,
    objects,
    texts,
)
from shim.snql.processors.time_series import NotATimeError, time_s
from shim.snql.syntax import Constant

Columns = Sequence[ResultColumn]
#: Characters that `concat` makes at once: aliases of aliases double a text with each.
_MAX_CONCAT: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class ScalarFunction:
    """A function and how many arguments it takes (None: any number from `min_args`)."""

    call: Callable[[Columns], ResultColumn]
    min_args: int
    max_args: int | None


def _numbers(combine: Callable[..., Any]) -> Callable[[Columns], ResultColumn]:
    """Make a function of numbers: NULL of NULL."""

    def call(args: Columns) -> ResultColumn:
        with np.errstate(all="ignore"):
            found = np.asarray(combine(*(arg.floats() for arg in args)), dtype=np.float64)
        return ResultColumn("Float64", found)

    return call


def _compared(compare: Callable[[Any, Any], Any]) -> Callable[[Columns], ResultColumn]:
    def call(args: Columns) -> ResultColumn:
        left, right = comparable(*args)
        if left.type == "String":
            pairs = zip(left.values.tolist(), right.values.tolist(), strict=True)
            return flags(np.array([bool(compare(a, b)) for a, b in pairs], dtype=bool))
        if left.values.dtype == right.values.dtype == object:  # ids, which a float would round
            pairs = zip(left.values.tolist(), right.values.tolist(), strict=True)
            return flags(
                np.array([a is not None and b is not None and compare(a, b) for a, b in pairs], dtype=bool)
            )
        with np.errstate(invalid="ignore"):
            return flags(compare(left.floats(), right.floats()))

    return call


def comparable(left: ResultColumn, right: ResultColumn) -> tuple[ResultColumn, ResultColumn]:
    """Return two columns of one type. Raises ColumnTypeError."""
    if left.type == "DateTime" and right.type == "String":
        return left, _times(right)
    if right.type == "DateTime" and left.type == "String":
        return _times(left), right
    if left.type == right.type == "String" or (left.type in NUMERIC and right.type in NUMERIC):
        return left, right
    raise ColumnTypeError(f"a {left.type} beside a {right.type}: expected two texts or two numbers")


def _times(column: ResultColumn) -> ResultColumn:
    try:
        found = [time_s(Constant(text)) for text in column.values.tolist()]
    except NotATimeError as e:
        raise ColumnTypeError(str(e)) from None
    return ResultColumn("DateTime", np.array(found, dtype=np.int64))


def like_pattern(pattern: str) -> str:
    """Return the regular expression of a LIKE pattern: `%` any text, `_` any character."""
    out, escaped = [], False
    for char in pattern:
        if escaped or char not in "%_\\":
            out.append(literal_pattern(char))
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            out.append(".*" if char == "%" else ".")
    return "".join(out) + ("\\\\" if escaped else "")


def literal_like(text: str) -> str:
    """Return the LIKE pattern of a text that means itself."""
    return "".join(f"\\{char}" if char in "%_\\" else char for char in text)


def literal_pattern(text: str) -> str:
    """Return the regular expression of a text that means itself."""
    return "".join(f"\\{char}" if char in "\\.+*?()[]{}|^$" else char for char in text)


def _like(args: Columns) -> ResultColumn:
    values, patterns = args
    if values.type != "String" or patterns.type != "String":
        raise ColumnTypeError(f"LIKE of a {values.type}: expected two texts")
    if not len(values):
        return flags(np.zeros(0, dtype=bool))
    test = compile_regex(like_pattern(patterns.values[0]))  # a constant, which the lowering holds
    known = {text: test.search(text) is not None for text in set(values.values.tolist())}
    return flags(np.array([known[text] for text in values.values.tolist()], dtype=bool))


def _not(args: Columns) -> ResultColumn:
    return flags(~args[0].truths())


def _and(args: Columns) -> ResultColumn:
    return flags(np.logical_and.reduce([arg.truths() for arg in args]))


def _or(args: Columns) -> ResultColumn:
    return flags(np.logical_or.reduce([arg.truths() for arg in args]))


def _is_null(args: Columns) -> ResultColumn:
    (of,) = args
    if of.values.dtype == object:
        return flags(np.array([v is None or v == "" for v in of.values.tolist()], dtype=bool))
    return flags(np.isnan(of.values) if of.type == "Float64" else np.zeros(len(of), dtype=bool))


def _negated(function: Callable[[Columns], ResultColumn]) -> Callable[[Columns], ResultColumn]:
    return lambda args: _not([function(args)])


def _if(args: Columns) -> ResultColumn:
    return _multi_if(args)


def _multi_if(args: Columns) -> ResultColumn:
    if len(args) % 2 == 0:
        raise ColumnTypeError(f"{len(args)} arguments: expected condition, value, ... and one value more")
    values = [*args[1::2], args[-1]]
    kinds = {value.type for value in values}
    if len(kinds) > 1 and not kinds <= NUMERIC:
        raise ColumnTypeError(f"values of types {', '.join(sorted(kinds))}: expected one type")
    same = kinds.pop() if len(kinds) == 1 else "Float64"
    if same != "Float64":
        columns = [value.values.astype(object) for value in values]
    else:
        columns = [value.floats() for value in values]
    found = columns[-1].copy()
    for condition, column in reversed(list(zip(args[0:-1:2], columns[:-1], strict=True))):
        met = condition.truths()
        found[met] = column[met]
    return ResultColumn(same, found)


def _coalesce(args: Columns) -> ResultColumn:
    conditions = [part for arg in args[:-1] for part in (_not([_is_null([arg])]), arg)]
    return _multi_if([*conditions, args[-1]])


def _null_if(args: Columns) -> ResultColumn:
    left, right = comparable(*args)
    same = _compared(operator.eq)([left, right]).truths()
    found = left.values.astype(np.float64 if left.type == "Float64" else object)
    found[same] = np.nan if left.type == "Float64" else None
    return ResultColumn(left.type, found)


def _to_string(args: Columns) -> ResultColumn:
    return texts(["" if v is None else str(v) for v in args[0].values.tolist()])


def _to_float(args: Columns) -> ResultColumn:
    if args[0].type != "String":
        return ResultColumn("Float64", args[0].floats())
    return ResultColumn("Float64", np.array([_float(v) for v in args[0].values.tolist()], dtype=np.float64))


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _to_whole(args: Columns) -> ResultColumn:
    numbers = _to_float(args).floats()
    fits = (-(2.0**63) <= v < 2.0**64 for v in numbers.tolist())
    whole = [int(v) if fit else None for v, fit in zip(numbers.tolist(), fits, strict=True)]
    return ResultColumn("UInt64", objects(whole))


def _unix(args: Columns) -> ResultColumn:
    if args[0].type != "DateTime":
        raise ColumnTypeError(f"a {args[0].type}: expected a time")
    return ResultColumn("UInt64", objects(args[0].values.tolist()))


def _concat(args: Columns) -> ResultColumn:
    parts = [_to_string([arg]).values.tolist() for arg in args]
    if sum(len(text) for part in parts for text in part) > _MAX_CONCAT:
        raise ColumnTypeError(f"texts of more than {_MAX_CONCAT} characters: expected shorter ones")
    return texts(["".join(row) for row in zip(*parts, strict=True)])


def _round(args: Columns) -> ResultColumn:
    digits = int(args[1].floats()[0]) if len(args) > 1 and len(args[1]) else 0
    if abs(digits) > 15:
        raise ColumnTypeError(f"{digits} digits: expected -15 to 15")
    return ResultColumn("Float64", np.round(args[0].floats(), digits))


_EQUALS: Final = _compared(operator.eq)
FUNCTIONS: Final[Mapping[str, ScalarFunction]] = {
    **{
        name: ScalarFunction(_numbers(combine), count, count)
        for name, combine, count in (
            ("plus", np.add, 2), ("minus", np.subtract, 2), ("multiply", np.multiply, 2),
            ("divide", np.divide, 2), ("modulo", np.fmod, 2), ("negate", np.negative, 1), ("abs", np.abs, 1),
            ("intDiv", np.floor_divide, 2), ("floor", np.floor, 1), ("ceil", np.ceil, 1),
            ("sqrt", np.sqrt, 1), ("exp", np.exp, 1), ("log", np.log, 1), ("log2", np.log2, 1),
            ("log10", np.log10, 1), ("pow", np.power, 2),
        )
    },
    **{
        name: ScalarFunction(_numbers(lambda *args, f=reduce: f.reduce(args)), 2, None)
        for name, reduce in (("greatest", np.maximum), ("least", np.minimum))
    },
    **{
        name: ScalarFunction(_compared(compare), 2, 2)
        for name, compare in (
            ("equals", operator.eq), ("notEquals", operator.ne), ("less", operator.lt),
            ("lessOrEquals", operator.le), ("greater", operator.gt), ("greaterOrEquals", operator.ge),
        )
    },
    "like": ScalarFunction(_like, 2, 2),
    "notLike": ScalarFunction(_negated(_like), 2, 2),
    "and": ScalarFunction(_and, 1, None),
    "or": ScalarFunction(_or, 1, None),
    "not": ScalarFunction(_not, 1, 1),
    "isNull": ScalarFunction(_is_null, 1, 1),
    "isNotNull": ScalarFunction(_negated(_is_null), 1, 1),
    "if": ScalarFunction(_if, 3, 3),
    "multiIf": ScalarFunction(_multi_if, 3, None),
    "coalesce": ScalarFunction(_coalesce, 1, None),
    "ifNull": ScalarFunction(_coalesce, 2, 2),
    "nullIf": ScalarFunction(_null_if, 2, 2),
    "toString": ScalarFunction(_to_string, 1, 1),
    "toFloat64": ScalarFunction(_to_float, 1, 1),
    "toUInt64": ScalarFunction(_to_whole, 1, 1),
    "toInt64": ScalarFunction(_to_whole, 1, 1),
    "toUnixTimestamp": ScalarFunction(_unix, 1, 1),
    "concat": ScalarFunction(_concat, 1, None),
    "round": ScalarFunction(_round, 1, 2),
}  # fmt: skip
