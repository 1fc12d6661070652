"""The lock of embedded data: who has it, and that it is free again when its holder dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.clickhouse.data_lock import DataInUseError, DataLock
from indexer.clickhouse.store import StoreError
from indexer.service import IndexerService
from indexer.settings import Settings
from indexer.write.journal_file import journal_path

HOLD = """
import sys
from pathlib import Path
from indexer.clickhouse.data_lock import DataLock
lock = DataLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def _holder(path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    if process.stdout.readline() != b"held\n":
        process.kill()
        process.communicate()
        raise AssertionError("the lock is not held")
    return process


def test_names_the_process_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data" / "chdb"
    with _holder(path) as holder:
        with pytest.raises(
            DataInUseError, match=rf"^another meterhouse \(pid {holder.pid}\) uses ./data/chdb$"
        ):
            DataLock(path)
        holder.kill()
        DataLock(path, wait_s=10).close()
    assert holder.returncode == -signal.SIGKILL
    lock = Path(f"{path}.lock")
    assert lock.read_text() == f"{os.getpid()}\n"
    assert lock.stat().st_mode & 0o777 == 0o600


async def test_a_start_beside_its_holder_opens_no_journal(tmp_path: Path) -> None:
    """A later version would change the file, which the holder writes."""
    path = tmp_path / "data" / "chdb"
    settings = Settings(dsn=f"chdb:///{path}", listen="127.0.0.1:0", up=False)
    service = IndexerService(settings)
    with _holder(path) as holder:
        with pytest.raises(StoreError, match="another meterhouse"):
            await service.start()
        holder.kill()
    await service.stop()
    assert not journal_path(settings).exists()


def test_one_process_takes_it_more_than_once(tmp_path: Path) -> None:
    first, second = DataLock(tmp_path / "chdb"), DataLock(tmp_path / "chdb")
    first.close()
    second.close()
    second.close()


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        DataLock(tmp_path / "file" / "chdb")
