"""Written files are for their owner alone, also those that an older version made for everybody."""

from __future__ import annotations

from pathlib import Path

from indexer.clickhouse.private_files import make_private
from indexer.write.journal import Journal


def modes(*paths: Path) -> list[str]:
    return [oct(path.stat().st_mode & 0o777) for path in paths]


def journal(path: Path) -> Journal:
    return Journal(path, max_identities=10, max_age_ms=10, max_aside_bytes=10)


def test_directories(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir(mode=0o755)
    make_private(old / "a" / "b")
    assert modes(old, old / "a", old / "a" / "b") == ["0o755", "0o700", "0o700"]
    make_private(old, existing=False)
    assert modes(old) == ["0o755"]
    make_private(old)
    assert modes(old) == ["0o700"]


def test_the_journal_with_its_log(tmp_path: Path) -> None:
    file = tmp_path / "data" / "journal.sqlite"
    made = journal(file)
    made.begin("t", [], 1)
    log, index = Path(f"{file}-wal"), Path(f"{file}-shm")
    assert modes(file.parent, file, log, index) == ["0o700", "0o600", "0o600", "0o600"]
    for path in (file, log, index):
        path.chmod(0o644)
    again = journal(file)
    again.begin("u", [], 1)
    assert modes(file, log, index) == ["0o600"] * 3
    made.close()
    again.close()
