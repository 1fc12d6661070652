"""The aggregator against a plain model, and against itself cut into parts."""

from __future__ import annotations

import contextlib
import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from agent.aggregate.aggregator import Aggregator
from agent.core.frame_builder import build_frames
from agent.protocol.line import BadLine, Limits, parse_line
from agent.settings import AggregateSettings
from agent.wire.frame import Frame, FrameError, Sender, decode, encode
from tests.support.line_model import model, observation
from tests.unit.agent.state import gauge_state, merge, state_of, state_of_frames

T = 1_700_000_000_000
SETTINGS = AggregateSettings(lateness_s=1_000_000, future_s=1_000_000)

# Few names, values and tags, so that lines meet; integers, so that the order of sums does not matter.
names = st.sampled_from(["a", "b"])
values = st.integers(-50, 50).map(str) | st.sampled_from(["1", "1", "0", "1:2:3", "x", "", "nan", "2.5"])
types = st.sampled_from(["c", "c", "g", "d", "ms", "s", "q"])
extras = st.sampled_from(
    ["", "|#x:1", "|#y:2,x:1", "|#x:1,y:2", "|@0.5", "|@0.25|#x:1", "|c:id", "|zz", "|@7"]
)
times = st.sampled_from(["", "", "", "|T1700000003", "|T1700000013", "|T1699999995"])
lines = st.builds(lambda n, v, t, e, w: f"{n}:{v}|{t}{e}{w}", names, values, types, extras, times)
#: Packets of lines, each arriving some milliseconds after the one before.
packets = st.lists(st.tuples(st.lists(lines, max_size=12), st.integers(1, 4_000)), max_size=12)


def arrivals(packets: list[tuple[list[str], int]]) -> list[tuple[bytes, int]]:
    now_ms, out = T, []
    for packet, gap_ms in packets:
        now_ms += gap_ms
        out.append(("\n".join(packet).encode(), now_ms))
    return out


def frames_of(aggregator: Aggregator, now_ms: int, max_rows: int) -> list[Frame]:
    return list(
        build_frames(
            aggregator.flush_all(now_ms),
            Sender(agent="a", epoch=1),
            itertools.count(1),
            now_ms,
            max_rows=max_rows,
            max_bytes=1 << 20,
        )
    )


@given(packets)
def test_is_the_model(packets: list[tuple[list[str], int]]) -> None:
    aggregator = Aggregator(SETTINGS)
    came = arrivals(packets)
    for data, now_ms in came:
        aggregator.add(data, now_ms)
    assert state_of(aggregator.flush_all(T + 10**6)) == model(came, Limits(), SETTINGS)
    texts = [text for data, _ in came for text in data.split(b"\n") if text]
    bad = [text for text in texts if isinstance(parse_line(text, Limits()), BadLine)]
    assert aggregator.stats.lines == len(texts)
    assert aggregator.stats.bad.total() == len(bad)


@given(packets, st.sets(st.integers(0, 12)), st.booleans())
def test_flushing_in_parts_is_flushing_once(
    packets: list[tuple[list[str], int]], cuts: set[int], ended_only: bool
) -> None:
    """merge(flush a, flush b) == flush(a + b), for any cut and any flush there.

    But for gauges with times of their own: of two values for one time that left in different flushes
    ClickHouse keeps the larger, so such lines are left out here.
    """
    timed_gauges_apart = [
        ([line for line in packet if not ("|g" in line and "|T" in line)], gap) for packet, gap in packets
    ]
    whole, cut, parts = Aggregator(SETTINGS), Aggregator(SETTINGS), []
    for i, (data, now_ms) in enumerate(arrivals(timed_gauges_apart)):
        whole.add(data, now_ms)
        cut.add(data, now_ms)
        if i in cuts:
            parts.append(state_of(cut.flush(now_ms) if ended_only else cut.flush_all(now_ms)))
    parts.append(state_of(cut.flush_all(T + 10**6)))
    assert merge(*parts) == state_of(whole.flush_all(T + 10**6))
    assert cut.entries == 0


@given(packets, st.integers(1, 7))
def test_frames_carry_the_state(packets: list[tuple[list[str], int]], max_rows: int) -> None:
    one, other = Aggregator(SETTINGS), Aggregator(SETTINGS)
    for data, now_ms in arrivals(packets):
        one.add(data, now_ms)
        other.add(data, now_ms)
    frames = frames_of(one, T + 10**6, max_rows)
    decoded = [decode(encode(frame)) for frame in frames]
    assert decoded == frames
    assert state_of_frames(decoded) == state_of(other.flush_all(T + 10**6))
    assert all(frame.rows <= max_rows for frame in frames)
    assert [frame.sequence for frame in frames] == list(range(1, len(frames) + 1))
    for frame in frames:
        assert len(set(frame.strings)) == len(frame.strings)


@given(st.binary(max_size=200))
def test_any_bytes_are_lines_or_counted(data: bytes) -> None:
    aggregator = Aggregator(SETTINGS)
    for _ in range(2):  # the second time through whatever the first time remembered
        aggregator.add(data, T)
    stats = aggregator.stats
    assert stats.lines == 2 * sum(1 for line in data.split(b"\n") if line not in (b"", b"\r"))
    frames_of(aggregator, T, 5)


@given(st.binary(max_size=300))
def test_garbage_is_a_frame_error(data: bytes) -> None:
    try:
        decode(data)
    except FrameError:
        return
    raise AssertionError("garbage was taken for a frame")


@given(packets, st.data())
def test_broken_frames_are_frame_errors(packets: list[tuple[list[str], int]], data: st.DataObject) -> None:
    """Cut, extended, or with a byte changed: a FrameError or (a changed byte only) some frame."""
    aggregator = Aggregator(SETTINGS)
    aggregator.add(b"x:1|c", T)
    for lines, now_ms in arrivals(packets):
        aggregator.add(lines, now_ms)
    good = encode(frames_of(aggregator, T + 10**6, 1_000)[0])
    broken = [good[: data.draw(st.integers(0, len(good) - 1))], good + b"\0"]
    for bad in broken:
        try:
            decode(bad)
        except FrameError:
            continue
        raise AssertionError(f"{bad!r} was taken for a frame")
    at = data.draw(st.integers(0, len(good) - 1))
    changed = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    with contextlib.suppress(FrameError):
        decode(changed)


def test_the_model_is_no_echo() -> None:
    """A fixed case, worked out by hand, of the model itself."""
    state = model([(b"a:1|c|@0.5\na:2|c\ng:1|g\ng:+2|g", T + 5)], Limits(), SETTINGS)
    assert state == {
        ("counter", "a", (), T // 1000): 4.0,
        ("gauge", "g", (), T // 1000): gauge_state(T + 5, 3.0, 1.0, 3.0, 4.0, 2),
    }
    assert math.isclose(observation(2.0, 2.0)["sum_squares"], 8.0)
