"""Syntax trees as text, which parses to the same tree. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import assert_never

from shim.snql.grammar import KEYWORDS, RESERVED
from shim.snql.syntax import (
    Aliased,
    ColumnRef,
    Constant,
    Expression,
    FunctionCall,
    SnqlQuery,
    TagRef,
    TupleOf,
)

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*", re.ASCII)


def unparse(of: Expression) -> str:
    """Write an expression; operators as function calls."""
    match of:
        case Constant():
            return _constant(of.value)
        case ColumnRef():
            return name(of.name)
        case TagRef():
            key = str(of.key) if isinstance(of.key, int) else _constant(of.key)
            return f"tags{'_raw' if of.raw else ''}[{key}]"
        case TupleOf():
            return f"tuple({_all(of.items)})"
        case FunctionCall():
            parameters = f"({_all(of.parameters)})" if of.parameters else ""
            return f"{name(of.name)}{parameters}({_all(of.args)})"
        case Aliased():
            return f"{unparse(of.of)} AS {name(of.name)}"
    assert_never(of)


def unparse_query(query: SnqlQuery) -> str:
    """Write a query."""
    out = [f"SELECT {_all(query.select)}"]
    source = query.source
    if source is not None and source.is_table:
        out.append(f"FROM {name(source.name)}")
    elif source is not None:
        out.insert(0, f"MATCH ({f'{name(source.alias)}: ' if source.alias else ''}{name(source.name)})")
    if query.group_by:
        out.append(f"BY {_all(query.group_by)}")
    if query.where is not None:
        out.append(f"WHERE {unparse(query.where)}")
    if query.having is not None:
        out.append(f"HAVING {unparse(query.having)}")
    if query.order_by:
        keys = (f"{unparse(o.of)} {'DESC' if o.descending else 'ASC'}" for o in query.order_by)
        out.append(f"ORDER BY {', '.join(keys)}")
    if query.limit_by is not None:
        out.append(f"LIMIT {query.limit_by.count} BY {_all(query.limit_by.of)}")
    if query.limit is not None:
        out.append(f"LIMIT {query.limit}")
    out.append(f"OFFSET {query.offset}")
    if query.granularity is not None:
        out.append(f"GRANULARITY {query.granularity}")
    return " ".join([*out, f"TOTALS {str(query.totals).lower()}"])


def name(text: str) -> str:
    """Write a name, in backticks unless it is plain."""
    if _PLAIN.fullmatch(text):
        return text if text.upper() not in _QUOTED else f"`{text}`"
    escaped = text.replace("\\", "\\\\").replace("`", "\\`").replace("\n", "\\n")
    return f"`{escaped}`"


def _all(of: Iterable[Expression]) -> str:
    return ", ".join(map(unparse, of))


def _constant(value: float | str | bool | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\0", "\\0")
        return f"'{escaped}'"
    return repr(value)


#: Names that mean a keyword wherever an expression may begin or end.
_QUOTED = frozenset({*RESERVED, *KEYWORDS} - {"AND", "OR", "IN", "LIKE", "NOT", "GRANULARITY", "MATCH"})
