"""Small files of state outlast a loss of power: synced before they are renamed, their folder after that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.forward.one_indexer import OneIndexer
from agent.forward.spool import bindings
from agent.forward.spool.bindings import Binding, Bindings
from agent.runtime.logs import Log
from agent.runtime.state_dir import StateDir
from shim.engine.warm_state import WarmState, save


def _state(folder: Path) -> None:
    StateDir(str(folder)).write("last_values", 1, b"")


def _indexer(folder: Path) -> None:
    OneIndexer("http://balancer", Log(), folder).heard("a", refused=True)


def _bindings(folder: Path) -> None:
    of = Bindings(folder)
    for number in range(50):
        of.bind(f"agent/1/{number}", Binding("http://indexer:8126"))
        of.persist(f"agent/1/{number}")


def _warm(folder: Path) -> None:
    save(folder / "warm", WarmState())


@pytest.mark.parametrize("write", [_state, _indexer, _bindings, _warm])
def test_a_small_file_is_on_the_disk_before_it_counts(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    def fsync(file: int) -> None:
        synced = Path(f"/proc/self/fd/{file}").readlink()
        done.append("folder" if synced == tmp_path else "file" if synced.suffix == ".new" else "other")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(bindings, "_MAX_BYTES", 2_000)
    write(tmp_path)
    assert done[:3] == ["file", "rename", "folder"]
    assert len(done) % 3 == 0


def test_a_new_file_of_bindings_is_in_its_folder_before_a_frame_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink().name)
    )
    of = Bindings(tmp_path, sync=True)
    for number in range(2):
        of.bind(f"agent/1/{number}", Binding("http://indexer:8126"))
        of.persist(f"agent/1/{number}")
    assert synced == ["bindings", tmp_path.name, "bindings"]
