"""Which small readings name their rows by whole keys, and how such a statement reports the rows it read."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from indexer.clickhouse.store import Store
from shim.catalog.types import Part
from shim.model.tenancy import Tenant
from shim.read.raw_rows import count_within, whole_hours
from shim.read.reader import Reader
from shim.read.window_plan import Limits
from shim.sql import nodes as sql
from shim.sql.render import render

HOUR_S = 3_600
AT_S = 500_000 * HOUR_S


def part(series: int = 1) -> Part:
    ids = np.arange(10, 10 + series, dtype=np.uint64)
    labels = [(("host", f"h{i}"),) for i in range(series)]
    return Part("counter", "", (42,), ids, np.ones(series, dtype=np.uint32), labels, whole=False)


@pytest.fixture
def reader(store: Store) -> Reader:
    return Reader(store, Tenant(7, 9), Limits(), 10_000, 10_000, time.monotonic() + 30)


def test_few_series_are_named_by_their_keys(reader: Reader) -> None:
    (condition,) = whole_hours(reader, part(2), 10, AT_S - 60, AT_S + 60)
    query = sql.Query((sql.Named(sql.col("value"), "value"),), sql.Table("d", "t"), prewhere=(condition,))
    assert render(query).text.split(" PREWHERE ")[1] == (
        "((org_id, project_id, metric_id, toStartOfHour(timestamp), series_id) IN "
        f"((7,9,42,{AT_S - HOUR_S},10),(7,9,42,{AT_S - HOUR_S},11),(7,9,42,{AT_S},10),(7,9,42,{AT_S},11)))"
    )


def test_the_end_of_an_hour_is_not_in_the_next(reader: Reader) -> None:
    (condition,) = whole_hours(reader, part(), 10, AT_S, AT_S + HOUR_S)
    assert isinstance(condition, sql.Op)
    assert condition.args[1] == sql.Tuples(((7, 9, 42, AT_S, 10),))


def test_what_is_not_few_or_not_in_hours_is_not(reader: Reader) -> None:
    span = (AT_S, AT_S + HOUR_S)
    assert whole_hours(reader, part(16), 10, *span)
    assert not whole_hours(reader, part(17), 10, *span)
    assert not whole_hours(reader, part(), 60, *span)
    assert not whole_hours(reader, part(), 10, -10, 10)
    assert not whole_hours(reader, replace(part(), metric_ids=(42, 43)), 10, *span)
    assert not whole_hours(replace(reader, tenant=Tenant(7, None)), part(), 10, *span)


def test_rows_that_come_along_are_within_the_limits(reader: Reader) -> None:
    span = (AT_S + HOUR_S - 10, AT_S + HOUR_S + 10)  # two buckets in two hours of 360
    assert whole_hours(replace(reader, max_rows=720), part(), 10, *span)
    assert not whole_hours(replace(reader, max_rows=719), part(), 10, *span)
    assert not whole_hours(replace(reader, few_rows=719), part(), 10, *span)


def test_rows_that_come_along_are_not_counted() -> None:
    assert count_within(np.array([10, 20, 30, 40], dtype=np.uint32), 20, 40) == 2
