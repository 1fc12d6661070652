"""SQL nodes -> text, the one place where SQL text is made for queries. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, assert_never

from shim.sql.nodes import (
    Column,
    Element,
    Expr,
    Func,
    Int,
    Ints,
    Lambda,
    Named,
    Op,
    Query,
    Table,
    Tuple,
    Tuples,
    Union,
)

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS: Final = frozenset({"+", "-", "*", "/", "%", "=", "<", "<=", ">", ">=", "AND", "OR", "IN"})


def render(query: Query) -> str:
    """The statement on one line, without FORMAT."""
    text = _query(query)
    if query.settings:
        text += " SETTINGS " + ", ".join(f"{_name(k)} = {v:d}" for k, v in query.settings)
    return text


def _query(q: Query) -> str:
    out = ["SELECT " + ", ".join(_named(c) for c in q.columns), "FROM " + _source(q.source)]
    if q.array_join:
        out.append("ARRAY JOIN " + ", ".join(_named(c) for c in q.array_join))
    if q.prewhere:
        out.append("PREWHERE " + " AND ".join(_expr(e) for e in q.prewhere))
    if q.where:
        out.append("WHERE " + " AND ".join(_expr(e) for e in q.where))
    if q.group_by:
        out.append("GROUP BY " + ", ".join(_name(n) for n in q.group_by))
    if q.order_by:
        out.append("ORDER BY " + ", ".join(_name(n) for n in q.order_by))
    if q.limit is not None:
        out.append(f"LIMIT {q.limit:d}")
    return " ".join(out)


def _source(source: Table | Query | Union) -> str:
    match source:
        case Table():
            return f"{identifier(source.database)}.{identifier(source.name)}"
        case Query():
            return f"({_query(source)})"
        case Union():
            return "(" + " UNION ALL ".join(_query(m) for m in source.members) + ")"
    assert_never(source)


def _named(named: Named) -> str:
    text = _expr(named.expr)
    return text if text == named.alias else f"{text} AS {_name(named.alias)}"


def _expr(e: Expr) -> str:
    match e:
        case Column():
            return _name(e.name)
        case Int():
            return str(int(e.value))
        case Ints():
            # One string literal: a long array literal costs ClickHouse a node of its tree for each number.
            return f"CAST('[{_numbers(e.values)}]', 'Array({_name(e.type)})')"
        case Tuple():
            return f"({', '.join(_expr(item) for item in e.items)})"
        case Tuples():
            return f"({','.join(f'({_numbers(row)})' for row in e.values)})"
        case Func():
            parameters = f"({', '.join(f'{p:d}' for p in e.parameters)})" if e.parameters else ""
            return f"{_name(e.name)}{parameters}({', '.join(_expr(a) for a in e.args)})"
        case Op():
            if e.op not in _OPERATORS:
                raise ValueError(f"not an operator of ours: {e.op!r}")
            if e.op == "IN" and isinstance(e.args[1], Ints):
                return f"({_expr(e.args[0])} IN ({_numbers(e.args[1].values)}))"
            return "(" + f" {e.op} ".join(_expr(a) for a in e.args) + ")"
        case Lambda():
            return f"({', '.join(_name(n) for n in e.names)}) -> {_expr(e.body)}"
        case Element():
            return f"tupleElement({_expr(e.of)}, {e.index:d})"
    assert_never(e)


def _numbers(values: Iterable[int]) -> str:
    return ",".join(map(str, map(int, values)))


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name of ours: {name!r}")
    return name


def identifier(name: str) -> str:
    """A table's or database's name, quoted (a database is named by the DSN)."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
