"""The bytes of wire version 1: a reader must take them for ever, and the writer still makes them.

frame_v1_lines.msgpack.hex holds the frame below before compression (zstd's output may differ between its
versions); frame_v1_flushed.msgpack.hex as it was before frames carried `lines`, and frame_v1.msgpack.hex as
before `flushed_until_ms`.
A change of it is a change of the wire: raise agent.wire.frame.VERSION and write a note under docs/decisions/.

UPDATE_GOLDEN=1 pytest tests/golden/test_frame_bytes.py    writes it anew
"""

from __future__ import annotations

import os
import sys
import tracemalloc
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.aggregate.aggregator import Aggregator
from agent.core.frame_builder import build_frames
from agent.protocol.line import Limits
from agent.wire.frame import VERSION, Frame, FrameError, Sender, decode, encode, unpacked_bytes
from tests.unit.agent.state import state_of_frames

if sys.version_info >= (3, 14):  # pragma: no cover
    from compression import zstd
else:
    from backports import zstd

GOLDEN = Path(__file__).parent / "frame_v1_lines.msgpack.hex"
#: The same frame by an agent that does not count the lines of a frame.
UNCOUNTED = Path(__file__).parent / "frame_v1_flushed.msgpack.hex"
#: The same frame by an agent that sends no heartbeats.
OLD = Path(__file__).parent / "frame_v1.msgpack.hex"
T = 1_700_000_000_000
LINES = b"""\
requests:3|c|#route:/buy,env:prod
requests:1|c|@0.5|#env:prod,route:/buy
memory:1.5|g|#env:prod
memory:+2|g|#env:prod
latency:1:2:1000|ms|#route:/buy
latency:-4|d|#route:/buy
latency:0|h|#route:/buy
users:ann|s
users:joe|s
requests:7|c|#route:/buy,env:prod|T1699999991
"""


def frame() -> Frame:
    aggregator = Aggregator(limits=Limits(gauge_deltas="signed"), static_tags={"pod": "web-1"})
    aggregator.add(LINES, T + 1_234)
    sender = Sender(
        agent="host-a", epoch=1_699_999_000_000_000_123, org_id=7, project_id=9, retention_days=30
    )
    made = build_frames(
        aggregator.flush_all(T + 10_500), sender, count(1), T + 10_500, max_rows=100, max_bytes=1 << 20
    )
    return msgspec.structs.replace(next(made), flushed_until_ms=T - 10_000)


def unpacked(frame: Frame) -> bytes:
    return zstd.decompress(encode(frame))


def lines_of(data: bytes) -> str:
    return "".join(f"{data[i : i + 40].hex()}\n" for i in range(0, len(data), 40))


def test_writer_makes_these_bytes() -> None:
    text = lines_of(unpacked(frame()))
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert GOLDEN.read_text() == text


def test_reader_takes_these_bytes() -> None:
    golden = decode(zstd.compress(bytes.fromhex(GOLDEN.read_text())))
    assert golden == frame()
    assert golden.identity == "host-a/1699999000000000123/1"
    assert (golden.version, golden.rows, golden.org_id, golden.project_id) == (VERSION, 5, 7, 9)
    assert golden.lines == 10
    state = state_of_frames([golden])
    tags = (("env", "prod"), ("pod", "web-1"), ("route", "/buy"))
    assert state["counter", "requests", tags, T // 1000] == 5.0
    assert state["counter", "requests", tags, T // 1000 - 10] == 7.0
    latency = state["distribution", "latency", (("pod", "web-1"), ("route", "/buy")), T // 1000]
    assert latency["positive"] == {0: 1.0, 32: 1.0, 319: 1.0}
    assert latency["negative"] == {64: 1.0}


def test_reader_takes_the_bytes_of_old_agents() -> None:
    uncounted = decode(zstd.compress(bytes.fromhex(UNCOUNTED.read_text())))
    assert uncounted == msgspec.structs.replace(frame(), lines=0)
    old = decode(zstd.compress(bytes.fromhex(OLD.read_text())))
    assert old == msgspec.structs.replace(frame(), flushed_until_ms=0, lines=0)


def plain() -> list[Any]:
    """Return the frame as the list that msgpack sees."""
    out: list[Any] = msgspec.msgpack.decode(bytes.fromhex(GOLDEN.read_text()))
    return out


@pytest.mark.parametrize("version", [0, VERSION + 1])
def test_other_versions_are_refused_by_name(version: int) -> None:
    changed = [version, *plain()[1:]]
    with pytest.raises(FrameError, match=f"version {version}: expected {VERSION}"):
        decode(zstd.compress(msgspec.msgpack.encode(changed)))


def test_more_fields_at_the_end_are_skipped() -> None:
    """How version 1 may grow: a reader leaves out unknown members."""
    assert decode(zstd.compress(msgspec.msgpack.encode([*plain(), "more"]))) == frame()


@pytest.mark.parametrize("part", range(9, 14), ids=["series", "counters", "gauges", "distributions", "sets"])
@pytest.mark.parametrize("cut", [-1, 1], ids=["shorter", "longer"])
def test_columns_of_unequal_length_are_refused(part: int, cut: int) -> None:
    """Every column of every type, one byte off."""
    for column in range(len(plain()[part])):
        changed = plain()
        data = changed[part][column]
        changed[part][column] = data + b"\0" if cut > 0 else data[:-1]
        if changed[part][column] != data:
            with pytest.raises(FrameError):
                decode(zstd.compress(msgspec.msgpack.encode(changed)))


def test_every_prefix_is_refused() -> None:
    whole = encode(frame())
    for end in range(len(whole)):
        with pytest.raises(FrameError):
            decode(whole[:end])


def test_no_bit_can_change_on_the_way() -> None:
    """A changed bit is refused, or means nothing (zstd's window size)."""
    whole, refused = encode(frame()), 0
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert decode(bytes(changed)) == frame()
        except FrameError:
            refused += 1
    assert refused > 8 * len(whole) - 16


def test_a_bomb_is_refused_before_it_unpacks() -> None:
    with pytest.raises(FrameError, match="more than 1000 bytes"):
        decode(zstd.compress(bytes(50_000_000)), max_bytes=1_000)
    with pytest.raises(FrameError, match="after the end"):
        decode(encode(frame()) + encode(frame()))
    with pytest.raises(FrameError):
        decode(zstd.compress(msgspec.msgpack.encode("no frame")))


def _plain_with(**changes: Any) -> bytes:
    names = Frame.__struct_fields__
    fields = plain()
    for name, value in changes.items():
        fields[names.index(name)] = value
    return zstd.compress(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize(
    ("string", "count", "reason"),
    [
        ("ab", 2_000_000, "strings: 2000000 strings: at most 12.* are accepted in a frame of 6000.* bytes"),
        ("abcdefgh", 2_000_000, "strings: 2000000 strings: at most"),
        ("abcdefgh", 4_000_001, "strings: 4000001 strings: at most 4000000 are accepted"),
    ],
)
def test_strings_that_nothing_uses_are_refused_before_they_are_made(
    string: str, count: int, reason: str
) -> None:
    """A frame of 5 kB without rows unpacked to 20,000,000 strings: 2.9 GB."""
    body = _plain_with(strings=[string] * count)
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match=reason):
            decode(body)
        assert tracemalloc.get_traced_memory()[1] < 96 << 20  # as objects they take 118 MiB and more
    finally:
        tracemalloc.stop()


def test_series_without_rows_and_too_many_rows_are_refused() -> None:
    with pytest.raises(FrameError, match="Series: 1000 series, "):
        decode(_plain_with(series=[bytes(4_000), bytes(2_000), b"", b""]))
    many = 1_000_001
    with pytest.raises(FrameError, match="rows: at most 1000000 are accepted"):
        decode(_plain_with(counters=[bytes(4 * many), bytes(4 * many), bytes(8 * many)]))


def test_what_a_frame_unpacks_to_is_known_before() -> None:
    body = encode(frame())
    assert unpacked_bytes(body) == len(msgspec.msgpack.encode(frame()))
    with pytest.raises(FrameError, match="when unpacked: at most 10 are accepted"):
        unpacked_bytes(body, 10)
    with pytest.raises(FrameError, match="not zstd"):
        unpacked_bytes(b"no frame at all")
