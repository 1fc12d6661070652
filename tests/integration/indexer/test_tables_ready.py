"""Tables that are made ready beside the imports of a start; a failure is left to the start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from agent.wire.frame import encode
from indexer.cli.serve import indexer
from indexer.clickhouse.schema import lacking
from indexer.clickhouse.schema.migrate import applied_times, applied_versions
from indexer.clickhouse.store import StoreError, open_store
from indexer.service import IndexerService
from indexer.settings import JournalSettings, Settings
from indexer.tables_ready import early_tables
from indexer.write.journal import JournalError
from indexer.write.journal_file import is_journal_usable
from tests.support.frames import counter_frame


async def test_a_start_uses_tables_that_are_ready_and_closes_their_store(
    migrated_http_dsn: str, tmp_path: Path
) -> None:
    journal = JournalSettings(path=str(tmp_path / "journal.sqlite"))
    settings = Settings(
        dsn=migrated_http_dsn, listen="127.0.0.1:0", batching="journal", journal=journal, up=False
    )
    early = early_tables(settings, lambda: True)
    assert early is not None
    tables = early.take()
    assert tables is not None
    store = tables.store
    assert lacking(applied_versions(store), store.database) == ""
    assert (tables.legacy, tables.scoped_from_ms) == (False, applied_times(store)[4])
    service = IndexerService(settings, early=early)
    await service.start()
    frame = encode(counter_frame({"a": 2.0}, int(time.time()) // 10 * 10))
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{service.url}/v1/frames", data=frame) as response,
    ):
        assert response.status == 200
    assert store.rows("SELECT sum(value) FROM counters_1d") == [(2.0,)]
    await service.stop()
    with pytest.raises(StoreError, match="closed"):
        store.rows("SELECT 1")


def test_a_server_that_is_away_is_left_to_the_start() -> None:
    with socket.socket() as bound:  # it is ours and does not listen: a connection is refused
        bound.bind(("127.0.0.1", 0))
        early = early_tables(Settings(dsn=f"http://127.0.0.1:{bound.getsockname()[1]}/default"), lambda: True)
        assert early is not None
        assert early.take() is None


@pytest.mark.parametrize("dsn", ["chdb:///./data/chdb", "https://127.0.0.1:8443/default"])
def test_embedded_data_and_tls_wait_for_the_start(dsn: str) -> None:
    assert early_tables(Settings(dsn=dsn), lambda: True) is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ('tokens_file = "missing"', "indexer.tokens_file: missing cannot be read"),
        ('tls = {cert = "missing", key = "missing"}', "indexer.tls.cert"),
        ('kafka = {brokers = "localhost:1", topic = "t"}', "indexer.kafka.brokers: the client"),
    ],
)
def test_a_mistake_in_settings_is_told_before_anything_is_altered(
    http_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: str,
    told: str,
) -> None:
    """Before the port is bound, too: it is one that cannot be."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.setattr("indexer.cli.serve.set_up_logs", lambda *_: None)
    config = tmp_path / "m.toml"
    config.write_text(f'[indexer]\ndsn = "{http_dsn}"\nlisten = "192.0.2.1:1"\n{given}\n')
    config.chmod(0o600)
    assert indexer(["--config", str(config)]) == 1
    assert told in capsys.readouterr().err
    assert not exists(http_dsn)


async def test_a_journal_that_cannot_be_used_is_told_before_anything_is_altered(
    http_dsn: str, tmp_path: Path
) -> None:
    """It is another file here; it may be that of an older indexer, which still runs."""
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"another file" * 100)
    journal = JournalSettings(path=str(path))
    settings = Settings(dsn=http_dsn, listen="127.0.0.1:0", batching="journal", journal=journal, up=False)
    early = early_tables(settings, partial(is_journal_usable, settings))
    with pytest.raises(JournalError, match="not a database"):
        await IndexerService(settings, early=early).start()
    assert not exists(http_dsn)


def test_up_tells_a_mistake_of_its_api_before_it_makes_a_store(tmp_path: Path) -> None:
    environ = os.environ | {"METERHOUSE_SHIM__TLS__CERT": "missing", "METERHOUSE_SHIM__TLS__KEY": "missing"}
    ports = [part for name in ("--statsd", "--indexer", "--api", "--ops") for part in (name, "127.0.0.1:0")]
    done = subprocess.run(
        [sys.executable, "-m", "meterhouse", "up", "--data", str(tmp_path / "data"), *ports],
        env=environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, "shim.tls.cert" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "data").exists()


def exists(dsn: str) -> bool:
    """Return whether a start has made the database."""
    server, _, name = dsn.rpartition("/")
    with closing(open_store(f"{server}/default", pool=1)) as store:
        return (name,) in store.rows("SELECT name FROM system.databases")
