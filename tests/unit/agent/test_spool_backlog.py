"""Frames on disk: bounds, age, damage, full disks, and one agent per directory."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.forward.lanes import Lanes
from agent.forward.spool.age import SpoolAge
from agent.forward.spool.backlog import Backlog, LostFrames
from agent.forward.spool.bindings import Binding, Bindings
from agent.forward.spool.open_spool import open_spool
from agent.forward.spool.record import VERSION, EncodedFrame, encode
from agent.forward.spool.spool import Spool
from agent.forward.target_choice import TargetChoice
from agent.runtime.logs import Log
from agent.settings import AgentSettings, SpoolSettings


class Clock:
    """A clock that tests set, in milliseconds."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


CLOCK = Clock()


def parcel(number: int, size: int = 100, created_ms: int = 1_000_000) -> EncodedFrame:
    return EncodedFrame(f"a/1/{number}", bytes(size), 5, number, 70, created_ms)


def backlog(path: Path, max_bytes: int = 1 << 20, clock: Clock = CLOCK) -> Backlog:
    return Backlog(path, max_bytes, 60.0, clock)


def drained(of: Backlog) -> list[str]:
    found = []
    while (taken := of.take()) is not None:
        found.append(taken[0].identity)
        of.done(taken[1])
    return found


def files(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir() if p.name.endswith(".frames"))


def test_it_is_bounded_and_the_newest_stay(tmp_path: Path) -> None:
    of = backlog(tmp_path, 10_000)
    for number in range(1, 201):
        assert of.put(parcel(number))
        assert of.bytes <= 10_000
    assert of.full.frames == 200 - of.frames > 100
    assert (of.full.rows, of.full.lines) == (5 * of.full.frames, 70 * of.full.frames)
    found = drained(of)
    assert found == [f"a/1/{n}" for n in range(201 - len(found), 201)]
    assert (of.frames, of.bytes, files(tmp_path)) == (0, 0, [])


@pytest.mark.parametrize("sync", [False, True])
def test_each_write_waits_for_the_disk_where_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    """Before it counts as written: a frame is in the file, and that in its folder."""
    sizes: list[int] = []
    folders: list[int] = []

    def fsync(file: int) -> None:
        found = os.fstat(file)
        if stat.S_ISDIR(found.st_mode):
            folders.append(len(sizes))
        else:
            sizes.append(found.st_size)

    monkeypatch.setattr("agent.forward.spool.segment.os.fsync", fsync)
    settings = AgentSettings(spool=SpoolSettings(path=str(tmp_path), fsync=sync))
    spool = open_spool(settings, CLOCK, Log())
    for number in (1, 2):
        spool.put(parcel(number), at_once=True)
        assert len(sizes) == (number if sync else 0)
    size = len(encode(parcel(1)))
    assert sizes == ([size, 2 * size] if sync else [])
    assert folders == ([1] if sync else [])  # a new file alone
    spool.leave()


def test_a_frame_larger_than_all_is_dropped_and_counted(tmp_path: Path) -> None:
    of = backlog(tmp_path, 10_000)
    assert of.put(parcel(1, 10_000))
    assert (of.full.frames, of.full.lines, of.frames, of.problem) == (1, 70, 0, "")


def test_what_the_indexer_does_not_remember_is_set_aside_and_not_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    spool = Spool(1, backlog(tmp_path, clock=clock))
    age = SpoolAge(spool, 60.0, Log())
    for number in (1, 2):
        spool.put(parcel(number, created_ms=clock.now_ms + number))
    clock.now_ms += 40_002
    age.remembers(0)
    age.remembers(60)
    assert age.warning == ""
    age.remembers(40)
    assert "agent.spool.max_age_s = 60: expected at most 40" in age.warning
    assert "spool_age max_age_s=60 indexer_remembers_s=40" in caplog.text
    taken = spool.take()
    assert taken is not None
    assert (taken.number, spool.take()) == (2, None)
    assert spool.dropped["set_aside"] == LostFrames(1, 5, 70)
    assert [p.read_bytes() for p in (tmp_path / "set-aside").iterdir()] == [bytes(100)]
    spool.done(taken)
    assert spool.unsent_frames == 0
    assert files(tmp_path) == []
    age.remembers(90)
    assert age.warning == ""


def test_frames_that_are_too_old_are_dropped_and_counted(tmp_path: Path) -> None:
    clock = Clock()
    of = backlog(tmp_path, clock=clock)
    of.put(parcel(1, created_ms=clock.now_ms))
    of.put(parcel(2, created_ms=clock.now_ms + 1))
    clock.now_ms += 60_001
    assert drained(of) == ["a/1/2"]
    assert (of.too_old.frames, of.too_old.rows, of.too_old.lines) == (1, 5, 70)
    of.put(parcel(3, created_ms=clock.now_ms))
    clock.now_ms += 60_001
    of.drop_old()
    assert (of.too_old.frames, of.frames, files(tmp_path)) == (2, 0, [])


def test_what_was_done_is_not_sent_again_by_the_next_run(tmp_path: Path) -> None:
    of = backlog(tmp_path)
    for number in range(1, 5):
        of.put(parcel(number))
    first, second = of.take(), of.take()
    assert first
    assert second
    of.done(second[1])
    of.close()
    again = backlog(tmp_path)
    assert (again.frames, again.recovered_frames) == (3, 3)
    assert [again.take() for _ in range(4)][3] is None
    again.close()
    assert drained(backlog(tmp_path)) == ["a/1/1", "a/1/3", "a/1/4"]


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    """Only of the files being read and written the places of records are known."""
    of = backlog(tmp_path, 1 << 20)
    for number in range(1, 3_001):
        of.put(parcel(number, 200))
    loaded = [s for s in of._segments if s.waiting is not None]
    assert len(of._segments) >= 5
    assert len(loaded) <= 2
    assert of.low_number == 3_001 - of.frames


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow: EFBIG, as a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_frames_in_memory_until_there_is_room(tmp_path: Path) -> None:
    of = backlog(tmp_path)
    spool = Spool(1_000, of)
    with full_disk():
        for number in range(1, 15):
            spool.put(parcel(number))
        spool.keep_old(0.0)
        assert of.problem
        assert of.failed_writes
        assert of.frames == 1
        (name,) = files(tmp_path)
        assert (tmp_path / name).stat().st_size == of.bytes  # the part of a record that fitted is gone again
        assert spool.unsent_bytes <= 1_100
        assert spool.dropped["spool_full"].frames == 14 - spool.unsent_frames
    spool.keep_old(0.0)
    assert (of.problem, of.frames) == ("", spool.unsent_frames)
    found = drained(of)
    assert found[0] == "a/1/1"
    assert found[-1] == "a/1/14"


def test_senders_wake_only_for_frames_that_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, woken = Clock(), list[int]()
    of = backlog(tmp_path, clock=clock)
    spool = Spool(1_000, of)
    monkeypatch.setattr(spool.changed, "notify_all", lambda: woken.append(clock.now_ms))
    spool.keep_old(0.0)
    assert woken == []  # nothing waits
    spool.put(parcel(1))
    woken.clear()
    spool.keep_old(100.0)
    assert woken == []  # too young
    spool.keep_old(0.0)
    assert woken == [1_000_000]  # moved to disk
    spool.keep_old(0.0)
    assert woken == [1_000_000]
    clock.now_ms += 61_000
    spool.keep_old(0.0)
    assert woken == [1_000_000, 1_061_000]  # dropped: too old


def test_damage_in_a_file_that_is_not_read_yet(tmp_path: Path) -> None:
    """A directory that changes under the agent costs the frames that changed."""
    of = backlog(tmp_path)
    for number in range(1, 4):
        of.put(parcel(number))
    of.close()
    again = backlog(tmp_path)
    path = tmp_path / files(tmp_path)[0]
    size = len(encode(parcel(1)))
    with path.open("r+b") as file:
        file.seek(size)
        file.write(b"\0" * 10)
    assert drained(again) == ["a/1/1", "a/1/3"]
    assert (again.damaged.frames, again.damaged.lines, again.frames) == (1, 70, 0)


def test_a_write_that_was_cut_off_is_counted_when_the_file_is_opened(tmp_path: Path) -> None:
    """The log of the start says so, and the frame is not among those that wait."""
    whole = encode(parcel(1)) + encode(parcel(2))
    (tmp_path / f"{1:012d}.frames").write_bytes(whole[:-1])
    of = backlog(tmp_path)
    assert (of.frames, of.recovered_frames, of.damaged.frames, of.damaged.lines) == (1, 1, 1, 70)
    of.close()


def test_live_frames_go_before_the_backlog_and_the_backlog_has_its_turn(tmp_path: Path) -> None:
    of = backlog(tmp_path)
    for number in (1, 2, 3):
        of.put(parcel(number))
    spool = Spool(1 << 20, of)
    for number in (4, 5):
        spool.put(parcel(number))
    taken = [spool.take_many(1, 1, 1, live_first=first) for first in (True, False, True, True, True)]
    assert [one.number for many in taken for one in many] == [4, 1, 5, 2, 3]
    of.put(parcel(6))
    spool.put(parcel(7))
    assert [one.number for one in spool.take_many(2, 1_000, 1, live_first=True)] == [7, 6]


def test_files_of_a_later_version_are_kept_for_it(tmp_path: Path) -> None:
    """An agent that goes back a version sends its own frames, and loses none of those."""
    of = backlog(tmp_path)
    assert of.put(parcel(1))
    of.close()
    (name,) = files(tmp_path)
    record = bytearray((tmp_path / name).read_bytes())
    later = bytes(record[:4]) + bytes([VERSION + 1]) + bytes(record[5:])
    (tmp_path / name).write_bytes(later)
    of = backlog(tmp_path)
    assert (of.later_files, of.frames, of.damaged.frames) == ([name], 0, 0)
    assert of.put(parcel(2))
    assert drained(of) == ["a/1/2"]
    of.close()
    assert files(tmp_path)[0] == name
    assert (tmp_path / name).read_bytes() == later
    (tmp_path / name).write_bytes(record)  # the later version runs again
    of = backlog(tmp_path)
    assert drained(of) == ["a/1/1"]
    of.close()


def test_bindings_of_frames_of_a_later_version_are_kept(tmp_path: Path) -> None:
    """Else its agent sends them to another indexer than the one that may have them: they count twice."""
    of = backlog(tmp_path)
    assert of.put(parcel(1))
    of.close()
    (name,) = files(tmp_path)
    later = encode(parcel(1))[:4] + bytes([VERSION + 1]) + b" of a later agent"
    (tmp_path / name).write_bytes(later)
    before = Bindings(tmp_path)
    before.bind("a/1/1", Binding("http://a:1"))
    before.persist("a/1/1")

    settings = AgentSettings(spool=SpoolSettings(path=str(tmp_path)))
    spool = open_spool(settings, CLOCK, Log())
    bindings = spool.bindings
    assert bindings is not None
    choice = TargetChoice(1, failover_s=10.0, return_s=30.0, try_every_s=15.0)
    lanes = Lanes(spool, bindings, ["http://b:2"], choice, {})
    spool.put(parcel(2))
    (sent,) = lanes.take(0, 1, 1 << 20, 1, live_first=True)
    lanes.done(0, sent)
    assert (sent.number, bindings.urls()) == (2, {"http://a:1"})
    spool.leave()
