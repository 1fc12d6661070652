"""Checks of the rights that the users of indexer and shim need. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from indexer.clickhouse.sql_quoting import quote_name
from indexer.diagnosis.check import DoctorCheck, Judgement, Rows, Surroundings, failed, passed

#: Rights on the database; deploy/clickhouse-users.sql grants them.
INDEXER_RIGHTS: Final = (
    *("SELECT", "INSERT", "ALTER", "CREATE DATABASE", "CREATE TABLE", "CREATE VIEW"),
    *("DROP TABLE", "DROP VIEW"),
)
SHIM_RIGHTS: Final = ("SELECT",)
#: Rights on everything: ON CLUSTER and the looks at its nodes, and the lists of ids beside a statement.
CLUSTER_RIGHTS: Final = ("CLUSTER", "REMOTE", "CREATE TEMPORARY TABLE")
_OF_SENT_TABLES: Final = "CREATE TEMPORARY TABLE"


def indexer_rights(database: str, *, cluster: bool) -> Iterator[DoctorCheck]:
    """Yield the checks of the indexer's user."""
    for right in INDEXER_RIGHTS:
        yield _right(right, f"{quote_name(database)}.*")
    for right in CLUSTER_RIGHTS if cluster else ():
        yield _right(right, "*.*")


def shim_rights(database: str) -> Iterator[DoctorCheck]:
    """Yield the checks of the shim's user."""
    for right in SHIM_RIGHTS:
        yield _right(right, f"{quote_name(database)}.*")
    yield replace(_right(_OF_SENT_TABLES, "*.*"), sends=True)


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
