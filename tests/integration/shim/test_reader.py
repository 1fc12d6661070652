"""The limits of one query's reads, on a real ClickHouse: rows, cells, time, and faults of the store."""

from __future__ import annotations

import time

import numpy as np
import pytest

from indexer.clickhouse.store import Store
from shim.catalog.types import Part
from shim.model.errors import ExecutionError, InternalError, TimedOut
from shim.model.grid import Grid
from shim.model.tenancy import Tenant
from shim.read.reader import Keys, Reader, each
from shim.read.window_plan import Limits
from shim.sql import nodes as sql
from shim.sql.render import render

NUMBERS = sql.Table("system", "numbers")
NUMBER = [("n", "<u8")]


def reader(store: Store, *, left_s: float = 30, max_rows: int = 1_000, max_cells: int = 1_000) -> Reader:
    limits = Limits(settled_s=None)
    return Reader(store, Tenant(7, 9), limits, max_rows, max_cells, time.monotonic() + left_s)


def numbers(count: int) -> sql.Query:
    return sql.Query((sql.Named(sql.col("number"), "n"),), NUMBERS, where=(sql.op("<", "number", count),))


def part(ids: tuple[int, ...] = (3, 5, 8), *, whole: bool = False) -> Part:
    series = np.array(ids, dtype=np.uint64)
    labels = [(("host", f"h{i}"),) for i in ids]
    return Part("counter", "", (42,), series, np.ones(len(ids), dtype=np.uint32), labels, whole)


def test_as_many_rows_as_allowed_and_none_more(store: Store) -> None:
    one = reader(store)
    assert one.fetch(numbers(1_000), NUMBER)["n"].tolist() == list(range(1_000))
    with pytest.raises(ExecutionError, match="would load too many samples into memory: more than 1000 rows"):
        one.fetch(numbers(1_001), NUMBER)


def test_a_statement_over_the_limit_leaves_no_more_than_one_row_too_many(store: Store) -> None:
    one = reader(store, max_rows=10)
    with pytest.raises(ExecutionError):
        one.fetch(numbers(1_000_000), NUMBER)
    [statement] = one.statements
    assert statement.rows == 11
    assert "LIMIT 11" in statement.sql


def test_cells_are_bounded_before_they_are_made(store: Store) -> None:
    one = reader(store)
    one.check_cells(1_000)
    with pytest.raises(ExecutionError, match="1001 values, at most 1000"):
        one.check_cells(1_001)


def test_what_is_held_is_bounded_together(store: Store) -> None:
    one = reader(store)
    one.hold(600)
    one.hold(400)
    with pytest.raises(ExecutionError, match="1001 values, at most 1000"):
        one.hold(1)
    one.check_cells(1_000)


def test_past_the_deadline_nothing_is_asked(store: Store) -> None:
    one = reader(store, left_s=-1)
    with pytest.raises(TimedOut, match="query timed out in expression evaluation"):
        one.fetch(numbers(1), NUMBER)
    assert one.statements == []


def test_clickhouse_gives_up_at_the_deadline(store: Store) -> None:
    """A statement that would take minutes: it stops in its second."""
    slow = sql.Query(
        (sql.Named(sql.call("sum", sql.call("sipHash64", sql.call("sipHash64", "number"))), "n"),),
        NUMBERS,
        where=(sql.op("<", "number", 10**12),),
        settings=(("max_threads", 1),),
    )
    started = time.monotonic()
    with pytest.raises(TimedOut, match="query timed out in expression evaluation"):
        reader(store, left_s=0.7).fetch(slow, NUMBER)
    assert time.monotonic() - started < 30


def test_what_the_store_refuses_is_our_fault(store: Store) -> None:
    nowhere = sql.Query((sql.Named(sql.col("n"), "n"),), sql.Table(store.database, "nowhere"))
    with pytest.raises(InternalError, match="lacks a table or column"):
        reader(store).fetch(nowhere, NUMBER)


@pytest.mark.parametrize(
    ("tenant", "whole", "text"),
    [
        (
            Tenant(7, 9),
            False,
            "(org_id = 7) AND (project_id = 9) AND (metric_id = 42) AND (series_id IN (3,5,8))",
        ),
        (Tenant(7, 9), True, "(org_id = 7) AND (project_id = 9) AND (metric_id = 42)"),
        (Tenant(7, None), True, "(org_id = 7) AND (metric_id = 42)"),
    ],
)
def test_conditions_begin_with_the_tenant(store: Store, tenant: Tenant, whole: bool, text: str) -> None:
    one = reader(store)
    one.tenant = tenant
    query = sql.Query(
        (sql.Named(sql.col("value"), "value"),),
        one.source("counters", 60),
        tuple(one.conditions(part(whole=whole))),
    )
    assert render(query).text == f"SELECT value FROM `{store.database}`.`counters_60s` WHERE {text}"


def test_fetched_keys_are_found_among_the_series() -> None:
    keys = each(part())
    place, known = keys.index(part(), np.array([5, 3, 4, 9, 8, 0], dtype=np.uint64))
    assert known.tolist() == [True, True, False, False, True, False]
    assert place[known].tolist() == [1, 0, 2]
    groups = Keys([(("a", "1"),), (("a", "2"),)], np.array([0, 1, 0]))
    _, known = groups.index(part(), np.array([0, 1, 2, 1 << 31], dtype=np.uint64))
    assert known.tolist() == [True, True, False, False]


def test_snapping_is_noted_only_where_something_was_snapped(store: Store) -> None:
    one = reader(store)
    one.limits = Limits(kept_from_s=((10, 10_000),))
    one.windows(Grid.instant(20_015_000), 60_000, 300_000)  # all of it still there
    one.windows(Grid.instant(6_000_000), 60_000, 300_000)  # gone, and no odd time
    assert one.snapped_to_s == set()
    one.windows(Grid.instant(6_000_000), 50_000, 300_000)
    assert one.snapped_to_s == {60}
    forced = reader(store)
    forced.limits = Limits(kept_from_s=((10, 10_000),), forced_s=60)
    forced.windows(Grid.instant(6_000_000), 50_000, 300_000)
    assert forced.snapped_to_s == set()
