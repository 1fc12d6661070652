"""Checks of the database and its tables: migrations, missing tables, windows, parts, mutations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from agent.runtime.program_version import program_version
from indexer.clickhouse.schema.later_versions import too_new
from indexer.clickhouse.schema.migrate import MIGRATIONS, lacking, statements
from indexer.clickhouse.schema.render import Layout
from indexer.diagnosis.check import (
    CheckResult,
    DoctorCheck,
    Judgement,
    Rows,
    Surroundings,
    failed,
    passed,
    skipped,
)

_WINDOW: Final = re.compile(r"\b((?:non_)?replicated_deduplication_window(?:_seconds)?)\s*=\s*(\d+)")
#: Names that an error lists at most.
_MAX_NAMED: Final = 5
#: Active parts of a partition from which ClickHouse slows inserts down.
_MANY_PARTS: Final = 1_000


def wanted_tables(around: Surroundings) -> Mapping[str, Mapping[str, int]]:
    """Return the windows that each table and view needs, by its name; most need none."""
    found: dict[str, dict[str, int]] = {}
    for statement in statements(Layout(around.database, around.cluster)):
        if statement.creates:
            windows = {name: int(value) for name, value in _WINDOW.findall(statement.text) if int(value)}
            found[statement.table] = windows
    return found


def _database(rows: Rows, around: Surroundings) -> Judgement:
    if not rows:
        return failed(f"there is no database {around.database}")
    engine = str(rows[0][0])
    if engine == "Replicated":
        if around.cluster is not None:
            return failed("its engine is Replicated, which takes no ON CLUSTER and no paths: expected Atomic")
        return skipped("Replicated: its DDL runs on all replicas; not tested")
    if engine == "Shared":
        return skipped("Shared (ClickHouse Cloud): not tested; leave indexer.cluster empty")
    if engine == "Atomic":
        return passed(engine)
    return failed(f"its engine is {engine}: expected Atomic")


def _migrations(rows: Rows, around: Surroundings) -> Judgement:
    versions = frozenset(int(version) for version, _ in rows)
    later = sorted((int(v), str(name)) for v, name in rows if int(v) > MIGRATIONS[-1].version)
    problem = lacking(versions, around.database) or too_new(later, around.database, program_version())
    return failed(problem) if problem else passed(f"version {max(versions)}")


def _tables(rows: Rows, around: Surroundings) -> Judgement:
    wanted = wanted_tables(around)
    missing = sorted(wanted.keys() - {str(name) for name, _ in rows})
    if missing:
        return failed(f"this node lacks {_named(missing)}")
    return passed(f"all {len(wanted)} tables and views")


def _windows(rows: Rows, around: Surroundings) -> Judgement:
    found = {str(name): str(engine) for name, engine in rows}
    small, checked = [], 0
    for table, windows in wanted_tables(around).items():
        if not windows or table not in found:
            continue
        checked += 1
        has = {name: int(value) for name, value in _WINDOW.findall(found[table])}
        if any(has.get(name, 0) < blocks for name, blocks in windows.items()):
            small.append(table)
    if not checked:
        return skipped("there are no such tables yet")
    return failed(f"too small in {_named(small)}") if small else passed(f"{checked} tables remember inserts")


def _parts(rows: Rows, _: Surroundings) -> Judgement:
    if not rows:
        return passed("none yet")
    table, parts = str(rows[0][0]), int(rows[0][1])
    text = f"at most {parts} in a partition, of {table}"
    return failed(text) if parts > _MANY_PARTS else passed(text)


def _mutations(rows: Rows, _: Surroundings) -> Judgement:
    if rows:
        return failed(f"not done in {_named(sorted({str(table) for table, _ in rows}))}: {rows[0][1]}")
    return passed("none fails")


def _named(names: list[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


_TABLES: Final = "SELECT name, engine_full FROM system.tables WHERE database = {database:String}"
_MAKE: Final = (
    "Start an indexer of this version, or run `meterhouse schema apply` (a cluster's node: --this-node)."
)

TABLES: Final = (
    DoctorCheck(
        "database",
        "SELECT engine FROM system.databases WHERE name = {database:String}",
        _database,
        "Start an indexer, or run `meterhouse schema apply`; its engine is chosen when it is made.",
    ),
    DoctorCheck(
        "migrations",
        "SELECT DISTINCT version, name FROM {database:Identifier}.schema_migrations",
        _migrations,
        _MAKE,
        absent=CheckResult.FAILED,
    ),
    DoctorCheck("tables", _TABLES, _tables, _MAKE),
    DoctorCheck(
        "deduplication windows",
        _TABLES,
        _windows,
        "A frame that is sent again would count twice: MODIFY SETTING as `meterhouse schema` shows.",
    ),
    DoctorCheck(
        "parts",
        "SELECT table, count() AS parts FROM system.parts WHERE database = {database:String} AND active"
        " GROUP BY table, partition_id ORDER BY parts DESC LIMIT 1",
        _parts,
        "Merges lag: lower indexer.batch.parts_per_s, use fewer indexers, or give ClickHouse faster disks.",
    ),
    DoctorCheck(
        "mutations",
        "SELECT table, latest_fail_reason FROM system.mutations"
        " WHERE database = {database:String} AND NOT is_done AND latest_fail_reason != ''",
        _mutations,
        "See system.mutations; KILL MUTATION ends one that can never succeed.",
    ),
)
