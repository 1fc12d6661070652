"""The spool, the state and the settings of each release, read by today's code."""

from __future__ import annotations

import struct
import tarfile
from pathlib import Path

import msgspec
import pytest
from backports import zstd

from agent.config.load import load
from agent.core.saved_gauges import NAME, VERSION
from agent.forward.spool.backlog import Backlog
from agent.runtime.state_dir import StateDir
from agent.settings import AgentSettings, LogSettings
from agent.wire import frame as wire
from indexer.settings import Settings
from shim.settings import ShimSettings
from tests.support.cores.rows import CORES, new_core, take_rows
from tests.support.releases import LEVEL, SpooledTruth, folder_of, read_sent, releases

DAY_MS = 86_400_000


def unpacked(release: str, folder: Path) -> SpooledTruth:
    """Unpack the agent's directories, and return the truth about them."""
    with tarfile.open(folder_of(release) / "agent.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    truth = read_sent(release).spooled
    assert truth is not None
    return truth


@pytest.mark.parametrize("release", releases("agent.tar.xz"))
def test_a_spool_of_then_has_all_frames(release: str, tmp_path: Path) -> None:
    truth = unpacked(release, tmp_path)
    found = Backlog(tmp_path / "spool", 1 << 20, 86_400.0, lambda: truth.at_ms)
    lines, total = 0, 0.0
    while (taken := found.take()) is not None:
        frame = wire.decode(taken[0].data)
        lines += taken[0].lines
        total += sum(value for (value,) in struct.iter_unpack("<d", frame.counters.value))
        found.done(taken[1])
    found.close()
    assert (total, lines, found.damaged.frames) == (truth.total, truth.lines, 0)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("release", releases("agent.tar.xz"))
def test_a_delta_of_a_gauge_adds_to_its_value_of_then(release: str, core: str, tmp_path: Path) -> None:
    truth = unpacked(release, tmp_path)
    state = StateDir(str(tmp_path / "state"))
    values = state.read(NAME, VERSION)
    state.close()
    assert values
    running = new_core(core, AgentSettings())
    running.import_last_values(values, truth.at_ms)
    running.add(f"{LEVEL}:+1|g".encode(), truth.at_ms + 1_000)
    running.flush_all(truth.at_ms + DAY_MS)
    (last,) = [row[4][1] for row in take_rows(running)["gauge"]]
    assert struct.unpack("<d", struct.pack("<Q", last))[0] == truth.level + 1.0
    running.close()


class _FrameOfThen(msgspec.Struct, array_like=True, frozen=True):
    """A frame as the reader of commit 3b2ee7e knows it: it skips fields that were added at the end."""

    version: int
    agent: str
    epoch: int
    sequence: int
    created_ms: int
    org_id: int
    project_id: int
    retention_days: int
    strings: list[str]
    series: tuple[bytes, bytes, bytes, bytes]
    counters: tuple[bytes, bytes, bytes]
    gauges: tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]
    distributions: list[bytes]
    sets: tuple[bytes, bytes, bytes, bytes]


@pytest.mark.parametrize("core", CORES)
def test_the_reader_of_then_understands_a_frame_of_today(core: str) -> None:
    """So an agent may be upgraded before its indexer, and nothing is refused for good."""
    now_ms = 1_700_000_000_000
    running = new_core(core, AgentSettings())
    for line in (b"a:3|c|#k:v", b"b:1|g", b"d:5|ms", b"s:x|s"):
        running.add(line, now_ms)
    running.flush_all(now_ms + DAY_MS)
    sender = wire.Sender(agent="x", epoch=1)
    frame = running.next_frame(sender, 1, now_ms, max_rows=100, max_bytes=65_536)
    running.close()
    assert frame is not None
    encoded = wire.encode(frame)
    frame, body = wire.decode(encoded), zstd.decompress(encoded)
    read = msgspec.msgpack.decode(body, type=_FrameOfThen)
    assert (read.version, read.agent, read.strings) == (1, "x", frame.strings)
    assert read.counters == (frame.counters.series, frame.counters.bucket, frame.counters.value)
    columns = (read.counters, read.gauges, read.distributions, read.sets)
    assert [len(one[0]) // 4 for one in columns] == [1, 1, 1, 1]
    assert len(read.distributions) == 14


class _SettingsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent: AgentSettings = AgentSettings()
    log: LogSettings = LogSettings()
    indexer: Settings = Settings()
    shim: ShimSettings = ShimSettings()


@pytest.mark.parametrize("release", releases("settings.toml"))
def test_all_settings_of_then_are_accepted(release: str) -> None:
    assert isinstance(load(_SettingsFile, (folder_of(release) / "settings.toml").read_text()), _SettingsFile)
