"""SQL nodes -> text, the one place where SQL text is made for queries. Pure.

The text is bounded, whatever the number of series: lists of integers are written into it until it holds
MAX_NUMBERS of them. All others travel beside it, as arrays of the table SENT
(indexer/clickhouse/sent_tables.py). On a cluster the queried server has that table; GLOBAL IN and scalar
subqueries pass it on to the shards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

import numpy as np
import numpy.typing as npt

from indexer.clickhouse.expected_settings import BOUNDS
from indexer.clickhouse.sql_quoting import quote_name
from shim.sql.nodes import (
    Column,
    Element,
    Expr,
    Func,
    Int,
    Ints,
    Join,
    Lambda,
    Named,
    Op,
    Query,
    Source,
    Table,
    Tuple,
    Tuples,
    Union,
)

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS: Final = frozenset({"+", "-", "*", "/", "%", "=", "<", "<=", ">", ">=", "AND", "OR", "IN"})


#: The one row of the arrays that travel beside a text.
SENT: Final = "sent"
#: Integers of lists in one text at most. Measured: about here a sent list costs as much as one in the text
#: (docs/decisions/sent-tables.md).
MAX_NUMBERS: Final = 512
_DTYPES: Final = {"UInt8": "<u1", "UInt16": "<u2", "UInt32": "<u4", "UInt64": "<u8"}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A statement on one line, without FORMAT, and the arrays that its table SENT has."""

    text: str
    arrays: Mapping[str, npt.NDArray[Any]]


def render(query: Query, *, with_settings: bool = True) -> Rendered:
    """Make the text of a query, without its settings for a user who may send none.

    Raises ValueError for names and numbers that are not ours, and for a setting that changes answers and
    would be left out.
    """
    writer = _Writer()
    text = writer.query(query)
    if not with_settings:
        if needed := [name for name, _ in query.settings if name not in BOUNDS]:
            raise ValueError(f"not settings that only bound or speed a statement: {needed}")
    elif query.settings:
        text += " SETTINGS " + ", ".join(f"{_name(k)} = {v:d}" for k, v in query.settings)
    return Rendered(text, {name: values for name, values, _ in writer.sent.values()})


@dataclass(slots=True)
class _Writer:
    """Writes one statement."""

    left: int = MAX_NUMBERS  # integers of lists that may still go into the text
    #: By array object and type: the name it is sent under, the sent value, and the array, kept alive.
    sent: dict[tuple[int, str], tuple[str, npt.NDArray[Any], npt.NDArray[Any]]] = field(default_factory=dict)

    def query(self, q: Query) -> str:
        out = ["SELECT " + ", ".join(self._named(c) for c in q.columns), "FROM " + self._source(q.source)]
        if q.array_join:
            out.append("ARRAY JOIN " + ", ".join(self._named(c) for c in q.array_join))
        if q.prewhere:
            out.append("PREWHERE " + " AND ".join(self._expr(e) for e in q.prewhere))
        if q.where:
            out.append("WHERE " + " AND ".join(self._expr(e) for e in q.where))
        if q.group_by:
            out.append("GROUP BY " + ", ".join(_name(n) for n in q.group_by))
        if q.order_by:
            out.append("ORDER BY " + ", ".join(_name(n) for n in q.order_by))
        if q.limit is not None:
            out.append(f"LIMIT {q.limit:d}")
        return " ".join(out)

    def _source(self, source: Source) -> str:
        match source:
            case Table():
                return f"{quote_name(source.database)}.{quote_name(source.name)}"
            case Query():
                return f"({self.query(source)})"
            case Union():
                return "(" + " UNION ALL ".join(self.query(m) for m in source.members) + ")"
            case Join():
                left, right = self._source(source.left), self._source(source.right)
                return f"{left} AS l GLOBAL ANY LEFT JOIN {right} AS r USING ({_name(source.using)})"
        assert_never(source)

    def _named(self, named: Named) -> str:
        text = self._expr(named.expr)
        return text if text == named.alias else f"{text} AS {_name(named.alias)}"

    def _expr(self, e: Expr) -> str:  # noqa: C901 - one case for each form of node
        match e:
            case Column():
                return _name(e.name)
            case Int():
                return str(int(e.value))
            case Ints():
                return self._array(e)
            case Tuple():
                return f"({', '.join(self._expr(item) for item in e.items)})"
            case Tuples():
                return f"({','.join(f'({_numbers(row)})' for row in e.values)})"
            case Func():
                parameters = f"({', '.join(f'{p:d}' for p in e.parameters)})" if e.parameters else ""
                return f"{_name(e.name)}{parameters}({', '.join(self._expr(a) for a in e.args)})"
            case Op():
                if e.op not in _OPERATORS:
                    raise ValueError(f"not an operator of ours: {e.op!r}")
                if e.op == "IN" and isinstance(e.args[1], Ints):
                    return f"({self._expr(e.args[0])} {self._in(e.args[1])})"
                return "(" + f" {e.op} ".join(self._expr(a) for a in e.args) + ")"
            case Lambda():
                return f"({', '.join(_name(n) for n in e.names)}) -> {self._expr(e.body)}"
            case Element():
                return f"tupleElement({self._expr(e.of)}, {e.index:d})"
        assert_never(e)

    def _array(self, ints: Ints) -> str:
        if self._fits(ints):
            # One string literal: a long array literal costs ClickHouse a node of its tree for each number.
            return f"CAST('[{_numbers(ints.values.tolist())}]', 'Array({_name(ints.type)})')"
        return f"(SELECT {self._send(ints)} FROM {SENT})"

    def _in(self, ints: Ints) -> str:
        if self._fits(ints):
            return f"IN ({_numbers(ints.values.tolist())})"
        return f"GLOBAL IN (SELECT arrayJoin({self._send(ints)}) FROM {SENT})"

    def _fits(self, ints: Ints) -> bool:
        """Return whether the list may go into the text, and count it if so."""
        if ints.values.dtype.kind not in "iu":
            raise ValueError(f"not integers: an array of {ints.values.dtype}")
        if len(ints.values) > self.left:
            return False
        self.left -= len(ints.values)
        return True

    def _send(self, ints: Ints) -> str:
        """Return the name of the array in SENT."""
        key = id(ints.values), ints.type
        if key not in self.sent:
            name = f"list{len(self.sent) + 1}"
            dtype = np.dtype(_DTYPES[_name(ints.type)])
            self.sent[key] = name, ints.values.astype(dtype, copy=False), ints.values
        return self.sent[key][0]


def _numbers(values: Iterable[Any]) -> str:
    return ",".join(map(str, map(int, values)))


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name of ours: {name!r}")
    return name
