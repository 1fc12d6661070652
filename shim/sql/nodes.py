"""SQL as values: the few forms that readers need; only render.py turns them into text. Pure.

They never hold text of a user: readers name series by integer ids, times by integers, and columns and tables
by names of our own schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Column:
    """A column by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Int:
    """An integer literal."""

    value: int


@dataclass(frozen=True, slots=True, eq=False)
class Ints:
    """An array of unsigned integers of any length, such as series ids.

    A short array is written into the text, a long one is sent as an external table. Equal array objects are
    sent once.
    """

    values: npt.NDArray[Any]
    type: str = "UInt64"  # the array's element type


@dataclass(frozen=True, slots=True)
class Tuples:
    """Rows of integers, such as keys of a table: the right side of `Tuple IN`."""

    values: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Tuple:
    """`(a, b)`."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Func:
    """`name(args)`, or `name(parameters)(args)` of a parametric aggregate function."""

    name: str
    args: tuple[Expr, ...] = ()
    parameters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Op:
    """A binary operator, or AND/OR over any number of operands."""

    op: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Lambda:
    """`(names) -> body`, for array functions."""

    names: tuple[str, ...]
    body: Expr


@dataclass(frozen=True, slots=True)
class Element:
    """`tuple.N`, counted from 1."""

    of: Expr
    index: int


Expr = Column | Int | Ints | Tuple | Tuples | Func | Op | Lambda | Element


@dataclass(frozen=True, slots=True)
class Named:
    """An expression with an alias."""

    expr: Expr
    alias: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a database."""

    database: str
    name: str


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT."""

    columns: tuple[Named, ...]
    source: Source
    where: tuple[Expr, ...] = ()  # joined by AND
    group_by: tuple[str, ...] = ()  # aliases
    order_by: tuple[str, ...] = ()  # aliases
    array_join: tuple[Named, ...] = ()
    limit: int | None = None
    settings: tuple[tuple[str, int], ...] = ()
    prewhere: tuple[Expr, ...] = ()  # as `where`, but before other columns are read; from a Table alone


@dataclass(frozen=True, slots=True)
class Union:
    """UNION ALL."""

    members: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Join:
    """The rows of `left`, each with the columns of the row of `right` that has the same `using`."""

    left: Table | Query
    right: Query
    using: str


Source = Table | Query | Union | Join


# ---------------------------------------------------------------- short forms


def col(name: str) -> Column:
    """Return a column."""
    return Column(name)


def call(name: str, *args: Expr | int | str) -> Func:
    """Return a function call; strings are columns, ints are literals."""
    return Func(name, tuple(expr(a) for a in args))


def op(operator: str, *args: Expr | int | str) -> Op:
    """Return an operator between operands; strings are columns, ints are literals."""
    return Op(operator, tuple(expr(a) for a in args))


def expr(value: Expr | int | str) -> Expr:
    """Return an expression; a string is a column, an int a literal."""
    if isinstance(value, int):
        return Int(value)
    return Column(value) if isinstance(value, str) else value


def member(value: Expr | str, ids: npt.NDArray[np.uint64]) -> Expr:
    """Return `value IN ids`, or `=` for one."""
    if len(ids) == 1:
        return op("=", value, int(ids[0]))
    return op("IN", value, Ints(ids))
