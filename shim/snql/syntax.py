"""The syntax tree of SnQL: frozen values, with the offset of each node in the text. Pure.

Operators are function calls under ClickHouse's names (`a = b` is `equals(a, b)`), so that a condition has one
form however it is written. `and` and `or` are flat: they have any number of arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal; None is NULL."""

    value: int | float | str | bool | None
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ColumnRef:
    """A column, or the alias of another expression."""

    name: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class TagRef:
    """`tags[key]`, or `tags_raw[key]` (`raw`). An integer key is an id of the indexer."""

    key: int | str
    raw: bool = False
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class TupleOf:
    """`(a, b)`, `[a, b]`, `tuple(a, b)` or `array(a, b)`."""

    items: tuple[Expression, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """`name(args)`, or `name(parameters)(args)`."""

    name: str
    args: tuple[Expression, ...] = ()
    parameters: tuple[Expression, ...] = ()
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Aliased:
    """`expression AS name`."""

    of: Expression
    name: str
    at: int = field(default=0, compare=False)


Expression = Constant | ColumnRef | TagRef | TupleOf | FunctionCall | Aliased


@dataclass(frozen=True, slots=True)
class Ordering:
    """One key of ORDER BY."""

    of: Expression
    descending: bool = False


@dataclass(frozen=True, slots=True)
class LimitBy:
    """`LIMIT count BY of`: at most `count` rows for each value of these expressions."""

    count: int
    of: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class QuerySource:
    """The source of a query: an entity (MATCH), or a table under its name (FROM)."""

    name: str
    alias: str = ""
    is_table: bool = False
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class SnqlQuery:
    """One query. `source` is None for one without MATCH and FROM."""

    source: QuerySource | None
    select: tuple[Expression, ...]
    group_by: tuple[Expression, ...] = ()
    where: Expression | None = None
    having: Expression | None = None
    order_by: tuple[Ordering, ...] = ()
    limit_by: LimitBy | None = None
    limit: int | None = None
    offset: int = 0
    granularity: int | None = None
    totals: bool = False
    places: tuple[int, int] = field(default=(0, 0), compare=False)  # of LIMIT's and GRANULARITY's numbers


def unaliased(expression: Expression) -> Expression:
    """Return the expression without its alias."""
    return expression.of if isinstance(expression, Aliased) else expression
