"""A statement that makes or changes a table, and the name of that table. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from indexer.clickhouse.sql_quoting import quote_name

_ALP: Final = "CODEC(ALP, ZSTD(1))"
_WITHOUT_ALP: Final = "CODEC(ZSTD(1))"
_NAME: Final = r"(?:`(?:[^`\\]|\\.)*`|\w+)"
_CREATE: Final = re.compile(rf"CREATE ((?:MATERIALIZED )?VIEW|TABLE) {_NAME}\.{_NAME}(?= )")
#: The user whose rights a view has: another one than ours may not be named (SET DEFINER).
_DEFINER: Final = re.compile(r" DEFINER = (?:`(?:[^`\\]|\\.)*`|\S+) SQL SECURITY \w+(?= AS )")


class DdlStatement(msgspec.Struct, frozen=True):
    """A statement. `table` is the table or view that it makes, or gives `column`; else it is empty.

    Those with a `table` are idempotent, and not needed where a node has the table or column.
    """

    text: str
    table: str = ""
    column: str = ""

    @property
    def creates(self) -> bool:
        """Whether it makes a table or view."""
        return bool(self.table) and not self.column


def without_alp(text: str) -> str:
    """Return a statement with plain ZSTD where it has the codec ALP."""
    return text.replace(_ALP, _WITHOUT_ALP)


def copied(definition: str, database: str, table: str, where: str) -> str:
    """Return the idempotent statement of a `create_table_query` of system.tables.

    `where`: the clause ON CLUSTER, or nothing. A view gets the rights of the user who runs this. Returns ""
    for a definition of another form.
    """
    found = _CREATE.match(definition)
    if found is None:
        return ""
    begin = f"CREATE {found[1]} IF NOT EXISTS {quote_name(database)}.{quote_name(table)}{where}"
    return begin + _DEFINER.sub("", definition[found.end() :], count=1)
