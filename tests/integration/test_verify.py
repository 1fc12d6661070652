"""`meterhouse verify`: each kind of damage is named, and a whole store has no findings."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.wire.frame import Frame, encode
from indexer.cli.repair import repair
from indexer.cli.verify import verify as verify_here
from indexer.clickhouse.schema import GRANULARITIES, KINDS, Retention
from indexer.clickhouse.schema.metric_types import Kind
from indexer.clickhouse.store import Store, open_store
from indexer.integrity.startup_check import StartupCheck
from indexer.integrity.verifier import DERIVE, Finding, FindingKind, Verifier
from indexer.metrics import Metrics
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from indexer.write.journal_file import open_journal
from tests.integration.test_indexer_exactly_once import indexer, post, sent
from tests.support.frames import FrameRows, make_frame, unit

ROOT = Path(__file__).parents[2]
#: Two days ago: every rollup keeps it, and no row of it is on its way.
DAY_S = (int(time.time()) // 86_400 - 2) * 86_400


def some_frame() -> Frame:
    """Rows of all kinds: 40 counters over 20 minutes that add up to 800."""
    rows = FrameRows(
        counters=[("hits", {"host": f"h{i % 4}"}, DAY_S + 30 * i, 20.0) for i in range(40)],
        gauges=[("depth", {}, DAY_S + 40 * i, ((DAY_S + 40 * i) * 1000, i, 0, i, i, 3)) for i in range(9)],
        distributions=[("took", {}, DAY_S + 70 * i, [0.1, 2.0, -1.0, 0.0]) for i in range(9)],
        sets=[("users", {}, DAY_S + 3600 * i, [i * 7 + n for n in range(30)]) for i in range(9)],
    )
    return make_frame(rows, agent="agent-1", sequence=1)


@pytest.fixture(params=["migrated_dsn"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Provide a store with `some_frame` in it: embedded, unless the test asks for others, too."""
    dsn = request.getfixturevalue(request.param)
    asyncio.run(_filled(dsn, tmp_path))
    it = open_store(dsn, pool=2)
    yield it
    it.close()


async def _filled(dsn: str, tmp_path: Path) -> None:
    service = IndexerService(
        Settings(
            dsn=dsn,
            listen="127.0.0.1:0",
            journal=JournalSettings(path=str(tmp_path / "journal.sqlite")),
            up=False,
        )
    )
    await service.start()
    assert await sent(service, some_frame()) == 200
    await service.stop()


#: For tests that run over HTTP, too.
both = pytest.mark.parametrize("store", ["migrated_dsn", "migrated_http_dsn"], indirect=True)


def found(store: Store, **fields: Any) -> list[Finding]:
    return list(Verifier(store, Retention(), quiet=True, **fields).all())


def seen(findings: list[Finding]) -> list[tuple[FindingKind, str, str]]:
    return [(one.what, one.table, one.metric.split(" ")[0]) for one in findings]


@both
def test_a_whole_store_has_no_findings(store: Store) -> None:
    assert found(store) == []
    assert list(Verifier(store, Retention(), quiet=False, pause=lambda _: None).all()) == []


@both
def test_a_rollup_that_lost_rows_is_named_and_can_be_derived(store: Store) -> None:
    metrics: dict[Kind, str] = {
        "counters": "hits",
        "gauges": "depth",
        "distributions": "took",
        "sets": "users",
    }
    for kind in KINDS:
        store.command(f"TRUNCATE TABLE {kind}_60s")
    for less, (kind, metric) in zip(found(store), metrics.items(), strict=False):
        assert seen([less]) == [(FindingKind.ROLLUP, f"{kind}_60s", metric)]
        assert less.derivable
        assert less.remedy == DERIVE.format(finer=f"{kind}_10s")
        assert less.amount.startswith("cells 0 instead of ")
    more = found(store)[len(KINDS) :]
    assert seen(more) == [(FindingKind.ROLLUP, f"{kind}_1h", metric) for kind, metric in metrics.items()]
    assert not any(one.derivable for one in more), "1 h has what 60 s lost"


def test_what_the_finer_rollup_lacks_cannot_be_derived(store: Store) -> None:
    store.command(
        "INSERT INTO counters_60s"
        " (org_id, project_id, metric_id, series_id, timestamp, retention_days, value)"
        f" SELECT 1, 1, 77, 78, toDateTime({DAY_S}, 'UTC'), 100, 5"
    )
    (first, _) = found(store)
    assert first.metric == "id 77 (org 1, project 1)"
    assert first.amount == "cells 1 instead of 0 in counters_10s"
    assert not first.derivable
    for kind in KINDS:
        store.command(f"TRUNCATE TABLE {kind}_10s")
    of_60s = [one for one in found(store) if one.table.endswith("_60s")]
    assert {(one.what, one.table, one.derivable) for one in of_60s} == {
        (FindingKind.ROLLUP, f"{kind}_60s", False) for kind in KINDS
    }


def test_rows_that_only_the_coarser_rollup_still_keeps_are_no_finding(store: Store) -> None:
    later = DAY_S + 34 * 86_400
    assert found(store, now_s=lambda: float(later)) == []
    store.command("TRUNCATE TABLE counters_10s")
    assert found(store, now_s=lambda: float(later + 3 * 86_400)) == []


@both
def test_samples_without_series_and_series_without_strings(store: Store) -> None:
    store.command("ALTER TABLE strings DELETE WHERE string = 'h1' SETTINGS mutations_sync = 1")
    (finding,) = found(store)
    assert (finding.what, finding.table, finding.amount) == (FindingKind.NO_STRINGS, "series", "1 series")
    assert finding.metric.startswith("hits ")
    store.command("TRUNCATE TABLE series")
    assert {(one.what, one.table) for one in found(store)} == {
        (FindingKind.NO_SERIES, f"{kind}_1d") for kind in KINDS
    }


def test_a_detached_part_is_a_finding_and_so_is_what_it_held(store: Store) -> None:
    ((part,),) = store.rows(
        "SELECT name FROM system.parts WHERE active AND table = 'counters_60s'"
        " AND database = currentDatabase() LIMIT 1"
    )
    store.command(f"ALTER TABLE counters_60s DETACH PART '{part}'")
    assert seen(found(store)) == [
        (FindingKind.DETACHED, "counters_60s", ""),
        (FindingKind.ROLLUP, "counters_60s", "hits"),
        (FindingKind.ROLLUP, "counters_1h", "hits"),
    ]


def test_the_short_form_counts_findings(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.command("TRUNCATE TABLE counters_60s")
    metrics = Metrics()
    StartupCheck(store, Retention(), metrics, for_s=60.0).look()
    value = metrics.registry.get_sample_value(
        "meterhouse_indexer_verify_findings", {"what": "rollup_differs"}
    )
    assert value == 2
    assert "event=verify_found text=rollup_differs: counters_60s" in caplog.text


def test_the_short_form_gives_each_statement_what_is_left_of_its_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = Store.rows

    def rows(self: Store, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        asked.append(sql)
        return real(self, sql, *args)

    monkeypatch.setattr(Store, "rows", rows)
    StartupCheck(store, Retention(), Metrics(), for_s=60.0).look()
    (_, *checks) = asked
    assert "FROM retention_eras" in asked[0], "it is small, and read before the check"
    left_s = [float(sql.rpartition("max_execution_time = ")[2]) for sql in checks]
    assert left_s
    assert 0 < left_s[0] <= 60
    assert left_s == sorted(left_s, reverse=True)
    StartupCheck(store, Retention(), Metrics(), for_s=-1.0).look()  # its time is over: no error leaves


def test_each_start_has_the_short_form(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some seconds after it; here at once."""
    monkeypatch.setattr("indexer.integrity.startup_check._AFTER_S", 0.0)
    with caplog.at_level(logging.INFO, "indexer.integrity.startup_check"):
        asyncio.run(_started_until(store, lambda: "event=verified whole=" in caplog.text))


async def _started_until(store: Store, seen: Callable[[], bool]) -> None:
    service = IndexerService(Settings(listen="127.0.0.1:0", batching="frame", up=False), store)
    await service.start()
    try:
        deadline = time.monotonic() + 120
        while not seen():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
    finally:
        await service.stop()


def verify(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "meterhouse", "verify", *arguments],
        cwd=ROOT,
        env={"METERHOUSE_INDEXER__DSN": dsn, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_truncated_file_of_a_closed_store(tmp_path: Path) -> None:
    """ClickHouse takes such a part out without a word, and a query has less: 200 instead of 800."""
    dsn = f"chdb://{tmp_path}/chdb"
    missing = verify(dsn)
    assert missing.returncode == 2
    assert "there is no data at" in missing.stderr
    with indexer(dsn) as (url, _):
        assert post(url, encode(some_frame())) == 200
        used = verify(dsn)
        assert used.returncode == 2
        assert "another meterhouse (pid " in used.stderr
    whole = verify(dsn)
    assert (whole.returncode, whole.stdout) == (0, "nothing is wrong\n")
    (table,) = (
        path for path in (tmp_path / "chdb").glob("**/counters_60s") if path.is_symlink() or path.is_dir()
    )
    damaged = list(table.resolve().glob("*_*_*_*/*.bin"))
    assert damaged
    for path in damaged:
        path.write_bytes(path.read_bytes()[:10])
    answer = verify(dsn, "--json")
    assert answer.returncode == 1, answer.stderr
    kinds = {(one["what"], one["table"]) for one in json.loads(answer.stdout)["findings"]}
    assert (FindingKind.DETACHED, "counters_60s") in kinds
    assert (FindingKind.ROLLUP, "counters_60s") in kinds


def test_every_rollup_but_the_finest_is_compared() -> None:
    from indexer.integrity.verify_statements import PAIRS

    assert [(p.finer.name, p.coarser.name) for p in PAIRS] == [("10s", "60s"), ("60s", "1h"), ("1h", "1d")]
    assert len(PAIRS) == len(GRANULARITIES) - 1


def test_batches_that_are_not_stored_are_warned_of(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    migrated_http_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "journal.sqlite"
    asyncio.run(_filled(migrated_http_dsn, tmp_path))
    for name, value in (("DSN", migrated_http_dsn), ("BATCHING", "journal"), ("JOURNAL__PATH", str(path))):
        monkeypatch.setenv(f"METERHOUSE_INDEXER__{name}", value)
    journal = JournalSettings(path=str(path))
    opened = open_journal(Settings(dsn=migrated_http_dsn, batching="journal", journal=journal))
    opened.begin("waits", [unit(make_frame(FrameRows(counters=[("hits", {}, DAY_S, 1.0)])))], 0)
    opened.close()
    assert verify_here([]) == 0
    out, err = capsys.readouterr()
    assert out == "nothing is wrong\n"
    assert "1 batches in the journal are not stored" in err
    assert verify_here(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"findings": [], "unstored_batches": 1}
    assert repair(["--yes"]) == 2
    assert "1 batches in the journal are not stored" in capsys.readouterr().err


def test_a_cluster_is_not_repaired_and_that_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERHOUSE_INDEXER__CLUSTER", "main")
    assert repair([]) == 2
    assert "rollups of a cluster are not repaired" in capsys.readouterr().err
