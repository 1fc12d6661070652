"""Sends tables along with a statement: ids, groups and strings too long for its text.

The text of a statement is bounded (262,144 bytes; a form field over HTTP 131,072), lists of ids are not. A
sent table is named in the text like any other, and exists while its statement runs. Over HTTP it is external
data of the request. Embedded it is a file in memory without a directory entry, read by the table function
`file`. Systems without such files use a temporary file, removed after the statement. A user with readonly = 1
may send none: the rows are then in the text after all, and bounded as it is.

On a cluster every shard needs the sent rows: `x GLOBAL IN (SELECT ... FROM sent)`, or a scalar subquery,
which the queried server evaluates and passes on. docs/decisions/sent-tables.md has the measurements.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from clickhouse_connect.driver.external import ExternalData

from indexer.clickhouse.native_format import AnyArray, ColumnData, Ragged, encode_block, type_name
from indexer.clickhouse.sql_quoting import quote_text

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Where a process finds its open files by number.
_OWN_FILES: Final = "/proc/self/fd"


class SentTable(msgspec.Struct, frozen=True):
    """Rows under a name that the statement uses. Names are ours: letters, digits and `_`."""

    name: str
    columns: Mapping[str, ColumnData]

    @staticmethod
    def of_arrays(name: str, arrays: Mapping[str, AnyArray]) -> SentTable:
        """Make one row with an Array in each column: for scalar subqueries, which return the whole array."""
        return SentTable(name, {key: Ragged(np.array([len(a)]), a) for key, a in arrays.items()})

    @property
    def structure(self) -> str:
        """Return names and types of the columns in ClickHouse's form. Raises ValueError for other names."""
        for name in (self.name, *self.columns):
            if not _NAME.fullmatch(name):
                raise ValueError(f"not a name of ours: {name!r}")
        return ", ".join(f"{name} {type_name(name, column)}" for name, column in self.columns.items())


def external_data(tables: Sequence[SentTable]) -> ExternalData:
    """Return the tables as parts of an HTTP request. Raises ValueError for columns of different lengths."""
    out = ExternalData()
    for table in tables:
        structure = table.structure
        out.add_file(
            file_name=table.name, data=encode_block(table.columns), fmt="Native", structure=structure
        )
    return out


def as_text(tables: Sequence[SentTable], max_bytes: int) -> str:
    """Return the WITH clause that holds the rows themselves; empty if it would have more than `max_bytes`.

    Raises ValueError for columns of different lengths.
    """
    parts = []
    for table in tables:
        names = [name.partition(" ")[0] for name in table.structure.split(", ")]
        if _min_bytes(table) > max_bytes:  # before any text is made
            return ""
        if len({len(column) for column in table.columns.values()}) > 1:
            raise ValueError(f"columns of different lengths: {names}")
        shown = ", ".join(f"tupleElement(row, {at}) AS {name}" for at, name in enumerate(names, 1))
        rows = ", ".join(_array(name, column) for name, column in table.columns.items())
        parts.append(f"{table.name} AS (SELECT {shown} FROM (SELECT arrayJoin(arrayZip({rows})) AS row))")
    text = "WITH " + ", ".join(parts)
    return text if len(text.encode()) <= max_bytes else ""


def _min_bytes(table: SentTable) -> int:
    """Return how many bytes the rows have in a text at least: a digit and a comma for each number."""
    return sum(
        2 * len(column.values if isinstance(column, Ragged) else column) for column in table.columns.values()
    )


def _array(name: str, column: ColumnData) -> str:
    """Return a column as one array."""
    if isinstance(column, Ragged):
        ends = np.cumsum(column.lengths).tolist()
        rows = [column.values[end - n : end] for n, end in zip(column.lengths.tolist(), ends, strict=True)]
        text = ",".join(f"[{_numbers(row)}]" for row in rows)
    elif isinstance(column, np.ndarray):
        text = _numbers(column)
    else:
        return f"CAST([{','.join(map(quote_text, column))}], 'Array(String)')"
    # One string literal: a long array literal costs ClickHouse a node of its tree for each number.
    return f"CAST('[{text}]', 'Array({type_name(name, column)})')"


def _numbers(values: AnyArray) -> str:
    return ",".join(map(str, values.tolist()))


@contextmanager
def as_files(tables: Sequence[SentTable], *, unnamed: bool = True) -> Iterator[str]:
    """Yield the WITH clause that names the tables to an embedded engine, until the context ends.

    `unnamed`: use files without a directory entry, if the system has them. Raises OSError, and ValueError for
    columns of different lengths.
    """
    unnamed = unnamed and hasattr(os, "memfd_create") and Path(_OWN_FILES).is_dir()
    with ExitStack() as stack:
        parts = []
        for table in tables:
            structure = table.structure
            content = _file(encode_block(table.columns), unnamed=unnamed)
            path = quote_text(stack.enter_context(content))
            parts.append(f"{table.name} AS (SELECT * FROM file({path}, 'Native', '{structure}'))")
        yield "WITH " + ", ".join(parts)


@contextmanager
def _file(data: bytes, *, unnamed: bool) -> Iterator[str]:
    """Yield the path of a file with this content."""
    if not unnamed:
        with tempfile.NamedTemporaryFile(prefix="meterhouse-sent-", suffix=".native") as file:
            file.write(data)
            file.flush()
            yield file.name
        return
    number = os.memfd_create("meterhouse-sent", os.MFD_CLOEXEC)
    with os.fdopen(number, "wb") as file:
        file.write(data)
        file.flush()
        yield f"{_OWN_FILES}/{number}"
