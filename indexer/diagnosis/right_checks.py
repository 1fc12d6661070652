"""Checks of the rights that the users of indexer and shim need. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from indexer.clickhouse.sql_quoting import quote_name
from indexer.diagnosis.check import (
    DoctorCheck,
    Judgement,
    Rows,
    Surroundings,
    failed,
    passed,
    skipped,
)

#: Rights on the database; deploy/clickhouse-users.sql grants them. Of ALTER those that a database can have.
INDEXER_RIGHTS: Final = (
    *("SELECT", "INSERT", "ALTER TABLE", "ALTER VIEW", "CREATE DATABASE", "CREATE TABLE", "CREATE VIEW"),
    *("DROP TABLE", "DROP VIEW"),
)
SHIM_RIGHTS: Final = ("SELECT",)
#: Rights on everything: ON CLUSTER and the looks at its nodes, and the lists of ids beside a statement.
CLUSTER_RIGHTS: Final = ("CLUSTER", "REMOTE", "CREATE TEMPORARY TABLE")
_OF_SENT_TABLES: Final = "CREATE TEMPORARY TABLE"
#: Tables of `system` that are read: a server's config.xml asks for a grant of each
#: (select_from_system_db_requires_grant).
INDEXER_TABLES: Final = ("detached_parts", "mutations", "parts")
SHIM_TABLES: Final = ("parts", "processes")
#: ... of every node of a cluster: that describes the table, which only a grant of its own allows.
CLUSTER_TABLES: Final = (
    *("clusters", "columns", "databases", "detached_parts", "mutations", "one", "parts", "settings"),
    "tables",
)


def indexer_rights(database: str, *, cluster: bool) -> Iterator[DoctorCheck]:
    """Yield the checks of the indexer's user."""
    for right in INDEXER_RIGHTS:
        yield _right(right, f"{quote_name(database)}.*")
    for right in CLUSTER_RIGHTS if cluster else ():
        yield _right(right, "*.*")
    for table in sorted({*INDEXER_TABLES, *(CLUSTER_TABLES if cluster else ())}):
        yield _reads(table, described=cluster and table in CLUSTER_TABLES)


def shim_rights(database: str) -> Iterator[DoctorCheck]:
    """Yield the checks of the shim's user."""
    for right in SHIM_RIGHTS:
        yield _right(right, f"{quote_name(database)}.*")
    yield replace(_right(_OF_SENT_TABLES, "*.*"), sends=True)
    for table in SHIM_TABLES:
        yield _reads(table)
    yield DoctorCheck("ends statements", "CHECK GRANT CLUSTER, KILL QUERY ON *.*", _ends, "", cluster=True)


def _ends(rows: Rows, _: Surroundings) -> Judgement:
    if rows and str(rows[0][0]) == "1":
        return passed("of all nodes, with shim.cluster")
    return skipped(
        "of the node that it asks; those of others end at their deadline. ON CLUSTER needs CLUSTER and"
        " KILL QUERY, and a profile without readonly"
    )


def _reads(table: str, *, described: bool = False) -> DoctorCheck:
    """Return the check of a right to read a table of `system`; `described`: by a grant of its own."""
    on = f"system.{table}"
    check = _right("SELECT", on)
    asked = f"CHECK GRANT SHOW COLUMNS ON {on}" if described else check.statement
    return replace(check, name=f"right SELECT ON {on}", statement=asked)


def _right(right: str, on: str) -> DoctorCheck:
    def judge(rows: Rows, _: Surroundings) -> Judgement:
        granted = bool(rows) and str(rows[0][0]) == "1"
        return passed(f"granted on {on}") if granted else failed(f"not granted on {on}")

    return DoctorCheck(
        f"right {right}",
        f"CHECK GRANT {right} ON {on}",
        judge,
        f"GRANT {right} ON {on} TO the user (deploy/clickhouse-users.sql has all grants).",
    )
