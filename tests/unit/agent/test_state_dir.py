"""The state directory: a file is whole or missing; damage is set aside and counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.runtime.state_dir import MAX_BYTES, StateDir, StateDirError

CONTENT = bytes(range(256)) * 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "state"


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def opened(path: Path) -> StateDir:
    return StateDir(str(path))


def test_what_is_written_is_read(path: Path) -> None:
    directory = opened(path)
    assert directory.read("a", 1) is None
    for content in (CONTENT, b"", CONTENT[:5]):
        directory.write("a", 1, content)
        assert directory.read("a", 1) == content
    directory.write("b", 1, b"other")
    assert directory.read("a", 1) == CONTENT[:5]
    assert names(path) == ["a", "b", "lock"]
    assert directory.damaged == 0
    directory.close()
    directory = opened(path)
    assert directory.read("b", 1) == b"other"
    directory.close()


def test_only_the_owner_sees_it(path: Path) -> None:
    directory = opened(path)
    directory.write("a", 1, CONTENT)
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in [path, *path.iterdir()]}
    assert modes == {"state": 0o700, "lock": 0o600, "a": 0o600}
    directory.close()


def test_any_damage_is_set_aside(path: Path) -> None:
    directory = opened(path)
    directory.write("a", 1, CONTENT[:40])
    good = (path / "a").read_bytes()
    broken = [good[:size] for size in range(len(good))]
    broken += [good[:i] + bytes([good[i] ^ 0x40]) + good[i + 1 :] for i in range(len(good))]
    broken += [good + b"\0", good[::-1], b"\0" * 100]
    for number, data in enumerate(broken, 1):
        (path / "a").write_bytes(data)
        assert directory.read("a", 1) is None
        assert directory.damaged == number
        assert (path / "a.damaged").read_bytes() == data
        assert directory.read("a", 1) is None  # there is none any more
    directory.write("a", 1, b"new")
    assert directory.read("a", 1) == b"new"
    directory.close()


def test_another_version_is_set_aside_too(path: Path) -> None:
    directory = opened(path)
    directory.write("a", 2, CONTENT)
    assert directory.read("a", 1) is None
    assert directory.damaged == 1
    directory.close()


def test_what_is_too_large_is_not_read(path: Path) -> None:
    directory = opened(path)
    with (path / "a").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert directory.read("a", 1) is None
    assert directory.damaged == 1
    directory.close()


def test_a_write_that_fails_leaves_the_old_file(path: Path) -> None:
    directory = opened(path)
    directory.write("a", 1, CONTENT)
    (path / "a.new").symlink_to(path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        directory.write("a", 1, b"new")
    assert directory.read("a", 1) == CONTENT
    assert not (path / "elsewhere").exists()
    directory.close()


def test_what_a_killed_write_left_does_not_matter(path: Path) -> None:
    directory = opened(path)
    directory.write("a", 1, CONTENT)
    (path / "a.new").write_bytes(b"half of")
    assert directory.read("a", 1) == CONTENT
    directory.write("a", 1, b"new")
    assert names(path) == ["a", "lock"]
    directory.close()


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateDirError, match=r"agent\.state_dir = '.*/file/state': Not a directory"):
        opened(tmp_path / "file" / "state")
    with pytest.raises(StateDirError, match=r"agent\.state_dir = '.*/file': File exists"):
        opened(tmp_path / "file")
