"""Filling a block: rows put in their cells here equal the arrays that ClickHouse adds up."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from indexer.clickhouse.schema import Retention
from indexer.clickhouse.store import Store
from shim.read.cell_cache.chunk import Source, places
from shim.read.cell_cache.fill_statements import (
    FilledMatrices,
    FillJob,
    TooManySeriesError,
    fetch,
    jobs,
    made,
)
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

DAY_S: Final = 86_400
START_S: Final = 20_400 * DAY_S
KEPT: Final = Retention(days_10s=3650, days_60s=3650, days_1h=3650, days_1d=3650)


@pytest.fixture(scope="module")
def store(chdb_path: Path) -> Iterator[Store]:
    """Two projects' counters and distributions with holes, several rows of a bucket among them."""
    with embedded(chdb_path, "block_fetch", pool=2) as opened:
        opened.command("SYSTEM STOP MERGES")
        rng = random.Random(11)
        p = Pipeline.open(opened, (START_S + DAY_S) * 1000)
        for number in range(4):
            lines = [
                f"hits:{rng.randrange(1, 50)}|c|#n:{n}|T{START_S + rng.randrange(4 * 3_600)}"
                for n in range(7)
                for _ in range(rng.randrange(200))
            ]
            lines += [f"took:{rng.random()}|d|#n:{n}|T{START_S + rng.randrange(3_600)}" for n in range(3)]
            p.send(lines, agent=f"a{number}", project_id=1 + number % 2)
        p.close()
        yield opened
        opened.command("SYSTEM START MERGES")


def job_of(store: Store, table: str, column: str, granularity_s: int, project_id: int | None) -> FillJob:
    ids = [i for (i,) in store.rows(f"SELECT DISTINCT metric_id FROM {table}_1d ORDER BY 1")]
    source = Source(1, project_id, tuple(ids), table, column)
    (job,) = jobs(places(source, granularity_s, START_S, START_S + 4 * 3_600))
    return job


def same(one: FilledMatrices, other: FilledMatrices) -> bool:
    return (
        np.array_equal(one.ids, other.ids)
        and np.array_equal(one.rows, other.rows)
        and np.array_equal(one.values[one.rows], other.values[one.rows])
        and one.kept_days == other.kept_days
    )


@pytest.mark.parametrize("granularity_s", [10, 60, 3_600, DAY_S])
@pytest.mark.parametrize("project_id", [1, 2, None])
def test_both_forms_give_the_same(store: Store, granularity_s: int, project_id: int | None) -> None:
    job = job_of(store, "counters", "value", granularity_s, project_id)
    plain = fetch(store, job, 1_000)
    assert same(plain, fetch(store, job, 1_000, most_plain=0))
    assert plain.rows.any()
    assert len(plain.ids) == (14 if project_id is None else 7)
    blocks = made(job, plain)
    assert blocks is not None
    assert sum(np.count_nonzero(b.rows) for b in blocks.values()) == np.count_nonzero(plain.rows)


def test_counts_of_distributions_are_whole_numbers_there(store: Store) -> None:
    job = job_of(store, "distributions", "count", 10, None)
    plain = fetch(store, job, 1_000)
    assert same(plain, fetch(store, job, 1_000, most_plain=0))
    assert plain.values.dtype == np.float64


def test_nothing_is_no_series(store: Store) -> None:
    source = Source(1, 1, (5,), "counters", "value")
    (job,) = jobs(places(source, 60, START_S, START_S + 1))
    for most_plain in (0, 10):
        found = fetch(store, job, 10, most_plain)
        assert (found.values.shape, found.kept_days) == ((0, job.cells), 65_535)


def test_too_many_series_in_either_form(store: Store) -> None:
    job = job_of(store, "counters", "value", 10, 1)
    assert len(fetch(store, job, 7).ids) == len(fetch(store, job, 7, most_plain=0).ids) == 7
    for most_plain in (0, 10**6):
        with pytest.raises(TooManySeriesError):
            fetch(store, job, 6, most_plain)


def test_the_form_changes_at_its_bound(store: Store) -> None:
    """One row too many is not left out."""
    job = job_of(store, "counters", "value", 10, None)
    rows = int(store.rows("SELECT count() FROM counters_10s")[0][0])
    whole = fetch(store, job, 1_000)
    assert np.count_nonzero(whole.rows) < rows
    for most_plain in (rows - 1, rows):
        assert same(whole, fetch(store, job, 1_000, most_plain))
