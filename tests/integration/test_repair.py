"""`meterhouse repair`: a rollup that follows from a finer one is made again, and nothing else is touched."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import pytest

from indexer.cli.repair import repair
from indexer.clickhouse.abandoned_tables import MAX_USE_S
from indexer.clickhouse.schema import GRANULARITIES, KINDS, Retention
from indexer.clickhouse.schema.database_id import read_ids
from indexer.clickhouse.store import Store, StoreError, open_store
from indexer.integrity.repairer import Repairer, RepairError, RepairStep, steps
from indexer.integrity.verifier import Finding, FindingKind, Verifier
from indexer.integrity.verify_statements import PAIRS
from indexer.settings import Settings
from indexer.write.journal_file import open_journal
from tests.integration.test_verify import DAY_S, both, found, some_frame, store
from tests.support.frames import unit

__all__ = ["store"]
_STATES = {
    "counters": "sum(value)",
    "gauges": "max(last), min(min), max(max), sum(sum), sum(count)",
    "distributions": "sumMap(positive), sumMap(negative), sum(zero), sum(count), sum(sum), sum(sum_squares)",
    "sets": "uniqCombined64Merge(members)",
}


def contents(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every cell of every rollup."""
    key = "org_id, project_id, metric_id, series_id, timestamp, retention_days"
    return {
        f"{kind}_{g.name}": store.rows(
            f"SELECT {key}, {_STATES[kind]} FROM {kind}_{g.name} GROUP BY {key} ORDER BY {key}"
        )
        for kind in KINDS
        for g in GRANULARITIES
    }


def parts(store: Store) -> set[tuple[str, str]]:
    return {
        (str(table), str(name))
        for table, name in store.rows(
            "SELECT table, name FROM system.parts WHERE active AND database = currentDatabase()"
        )
    }


def repaired(store: Store) -> list[str]:
    verifier = Verifier(store, Retention(), quiet=True)
    repairer = Repairer(store, Retention(), verifier.today)
    repairer.clean()
    done = []
    for pair in PAIRS:
        for step in steps(list(verifier.rollups(pair))):
            repairer.do(step)
            done.append(step.table)
    return done


@both
def test_all_coarser_rollups_follow_from_the_finest(store: Store) -> None:
    before = contents(store)
    for kind in KINDS:
        for granularity in GRANULARITIES[1:]:
            store.command(f"TRUNCATE TABLE {kind}_{granularity.name}")
    assert repaired(store) == [f"{kind}_{g.name}" for g in GRANULARITIES[1:] for kind in KINDS]
    assert contents(store) == before
    assert found(store) == []
    assert repaired(store) == [], "the second run has nothing to do"


def test_what_is_right_is_not_touched(store: Store) -> None:
    other_day = DAY_S - 86_400 * 21
    for granularity in GRANULARITIES[:2]:
        days = Retention().days(granularity.name)
        store.command(
            f"INSERT INTO counters_{granularity.name}"
            " (org_id, project_id, metric_id, series_id, timestamp, retention_days, value)"
            f" SELECT 1, 1, 77, 78, toDateTime({other_day}, 'UTC'), {days}, 5"
        )
    before, stored = contents(store), parts(store)
    store.command(f"ALTER TABLE counters_60s DELETE WHERE timestamp >= toDateTime({DAY_S}, 'UTC')"
                  " SETTINGS mutations_sync = 1")  # fmt: skip
    damaged = parts(store)
    assert repaired(store)[0] == "counters_60s"
    assert contents(store)["counters_60s"] == before["counters_60s"]
    changed = {
        (table, name.split("_")[0]) for table, name in damaged ^ parts(store) if table == "counters_60s"
    }
    assert len(changed) <= 1, "one partition"
    assert {part for part in stored if part[0] == "gauges_60s"} <= parts(store)


def test_other_days_of_a_replaced_partition_stay(store: Store) -> None:
    """1 d has a partition for a year: days that do not follow from 1 h stay as they are."""
    days = Retention().days_1d
    old_day = DAY_S - 86_400 * 30
    for day in (old_day, old_day + 86_400):
        store.command(
            "INSERT INTO counters_1d"
            " (org_id, project_id, metric_id, series_id, timestamp, retention_days, value)"
            f" SELECT 1, 1, 77, 78, toDateTime({day}, 'UTC'), {days}, 5"
        )
    before = contents(store)
    store.command(f"ALTER TABLE counters_1d DELETE WHERE timestamp >= toDateTime({DAY_S}, 'UTC')"
                  " SETTINGS mutations_sync = 1")  # fmt: skip
    assert repaired(store) == ["counters_1d"]
    assert contents(store) == before


def test_interrupted_anywhere_the_next_run_does_the_rest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(store)
    real = Store.command
    for statement in ("CREATE TABLE", "INSERT INTO", "REPLACE PARTITION", "DROP TABLE repair_"):
        for table in ("counters_60s", "sets_60s", "counters_1d"):
            store.command(f"TRUNCATE TABLE {table}")

        def dying(self: Store, sql: str, *rest: Any, at: str = statement) -> None:
            if at in sql:
                raise StoreError("killed", retryable=False)
            real(self, sql, *rest)

        with monkeypatch.context() as patched:
            patched.setattr(Store, "command", dying)
            with pytest.raises(StoreError):
                repaired(store)
        repaired(store)
        assert contents(store) == before
        assert found(store) == []
        assert not [table for table, _ in parts(store) if table.startswith("repair_")]


def test_rows_that_come_meanwhile_end_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.command("TRUNCATE TABLE counters_60s")
    real = Repairer._derive

    def written(self: Repairer, step: RepairStep, *rest: str) -> None:
        real(self, step, *rest)
        store.command(
            "INSERT INTO counters_60s"
            " (org_id, project_id, metric_id, series_id, timestamp, retention_days, value)"
            f" SELECT 1, 1, 77, 78, toDateTime({DAY_S}, 'UTC'), 100, 5"
        )

    monkeypatch.setattr(Repairer, "_derive", written)
    with pytest.raises(RepairError, match="counters_60s was written meanwhile"):
        repaired(store)
    assert store.rows("SELECT sum(value) FROM counters_60s") == [(5.0,)]


@both
def test_two_runs_at_once_do_not_meet(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two operators of a server: one run dropped the other's table, or both wrote their rows into one."""
    before = contents(store)
    store.command("TRUNCATE TABLE counters_60s")
    real, runs = Repairer._derive, 0
    monkeypatch.setattr(store, "embedded", False)

    def beside(self: Repairer, step: RepairStep, *rest: str) -> None:
        nonlocal runs
        runs += 1
        real(self, step, *rest)
        if runs == 1:
            assert repaired(store) == ["counters_60s"]

    monkeypatch.setattr(Repairer, "_derive", beside)
    with pytest.raises(RepairError, match="counters_60s was written meanwhile"):
        repaired(store)
    assert runs == 2
    assert contents(store) == before
    assert found(store) == []
    names = store.rows("SELECT count() FROM system.tables WHERE startsWith(name, 'repair_')")
    assert names == [(0,)]


def test_remains_of_another_run_go_when_it_must_be_over(migrated_http_dsn: str) -> None:
    with closing(open_store(migrated_http_dsn)) as store:
        store.command("CREATE TABLE repair_counters_60s_other AS counters_60s")
        left = "SELECT count() FROM system.tables WHERE startsWith(name, 'repair_')"
        for max_use_s, count in ((MAX_USE_S, 1), (-1, 0)):
            Repairer(store, Retention(), 20_000, max_use_s).clean()
            assert store.rows(left) == [(count,)]


def test_finer_rows_that_are_lost_leave_the_coarser_ones(store: Store) -> None:
    store.command("TRUNCATE TABLE counters_10s")
    before = contents(store)
    assert repaired(store) == []
    assert contents(store) == before


@both
def test_the_command_says_what_it_would_do_and_does_it(
    store: Store, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    name = request.node.callspec.params["store"]
    monkeypatch.setenv("METERHOUSE_INDEXER__DSN", request.getfixturevalue(name))
    before = contents(store)
    store.command("TRUNCATE TABLE counters_60s")
    assert repair([]) == 1
    assert "would derive counters_60s from counters_10s: " in capsys.readouterr().out
    assert contents(store) != before
    if not store.embedded:
        # on a busy machine the agent of the frame may have been heard of longer ago
        now_ms = time.time_ns() // 1_000_000
        store.command(
            f"INSERT INTO heartbeats SELECT * REPLACE ({now_ms} AS heard_ms) FROM heartbeats LIMIT 1"
        )
        assert repair(["--yes"]) == 2
        assert "indexers heard of agents in the last 30 s" in capsys.readouterr().err
        store.command("TRUNCATE TABLE heartbeats")
    assert repair(["--yes"]) == 0
    assert "derived counters_60s from counters_10s: " in capsys.readouterr().out
    assert contents(store) == before


def test_batches_that_wait_and_a_lost_catalog(
    store: Store, migrated_dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERHOUSE_INDEXER__DSN", migrated_dsn)
    store.command("TRUNCATE TABLE series")
    (before,) = read_ids(store)
    with closing(open_journal(Settings(dsn=migrated_dsn))) as journal:
        journal.begin("t", [unit(some_frame())], 1)
        assert repair(["--yes"]) == 2
        assert "1 batches in the journal are not stored" in capsys.readouterr().err
        assert read_ids(store) == [before]
        journal.finish("t", 1)
    assert repair(["--yes"]) == 1
    assert "caches are made new" in capsys.readouterr().out
    assert read_ids(store)[0] != before


def test_steps_are_days_of_one_partition() -> None:
    finding = {
        "what": FindingKind.ROLLUP,
        "table": "",
        "partition": "",
        "metric": "",
        "amount": "",
        "remedy": "",
    }
    monday = 20_000 - (20_000 + 3) % 7
    many = [
        Finding(**finding, derivable=day != monday + 3, day=day, kind="counters", pair=PAIRS[0])  # type: ignore[arg-type]
        for day in (monday + 1, monday + 1, monday + 3, monday + 6, monday + 7)
    ]
    assert [step.days for step in steps(many)] == [(monday + 1, monday + 6), (monday + 7,)]
