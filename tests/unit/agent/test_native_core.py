"""The native core's use of memory and threads; that it means the same is in tests/property.

Sizes here are chosen so that every structure of agent/core/_native is grown past each of its forms.
"""

from __future__ import annotations

import random

import pytest
from xxhash import xxh64_intdigest

from agent.aggregate.aggregator import Aggregator
from agent.core._native.core import NativeCore
from agent.core.interface import Core
from agent.core.python_core import PythonCore
from agent.protocol.line import MAX_NUMBER, Kind, Limits, MetricKey, Skip
from agent.settings import AgentSettings, AggregateSettings
from agent.wire.frame import Frame, Sender, decode, encode
from tests.unit.agent.state import State, state_of_frames

NOW_MS = 1_700_000_000_000
SENDER = Sender(agent="a", epoch=1)


def frames(core: Core, max_rows: int = 1_000, max_bytes: int = 1 << 20) -> list[Frame]:
    made = list[Frame]()
    while frame := core.next_frame(SENDER, len(made) + 1, NOW_MS, max_rows=max_rows, max_bytes=max_bytes):
        made.append(decode(encode(frame)))
    return made


def flushed(core: Core, now_ms: int = NOW_MS) -> State:
    core.flush_all(now_ms)
    return state_of_frames(frames(core))


def both(data: bytes, **settings: object) -> tuple[State, State]:
    """Return the results of some lines in the native and the Python core."""
    asked = AgentSettings(**settings)  # type: ignore[arg-type]
    cores: list[Core] = [NativeCore(asked), PythonCore(asked, None, lambda: None)]
    for core in cores:
        core.add(data, NOW_MS)
    assert cores[0].entries == cores[1].entries
    native, python = [flushed(core) for core in cores]
    return native, python


def test_a_weight_turns_a_list_into_a_table_at_any_length() -> None:
    lines = []
    for before in (0, 1, 3, 4, 5, 30, 50, 60):
        lines += [b"d%d:%d|ms" % (before, i % 40 + 1) for i in range(before)]
        lines += [b"d%d:%d|ms|@0.3" % (before, i) for i in range(3)]
        lines += [b"d%d:%d|ms" % (before, i % 40 + 1) for i in range(before)]
    native, python = both(b"\n".join(lines))
    assert native == python


@pytest.mark.parametrize("count", [1, 3, 4, 10, 11, 25, 26, 48, 49, 97, 5_000])
def test_sets_of_any_size(count: int) -> None:
    lines = [b"s:member-%d|s" % (i % count) for i in range(2 * count)]
    native, python = both(b"\n".join(lines))
    assert native == python
    assert len(next(iter(native.values()))) == count


def test_members_of_any_length() -> None:
    random_ = random.Random(1)
    members = [bytes(random_.choices(b"abc:# \xff\x80", k=size)) for size in range(1, 300)]
    native, _ = both(b"\n".join(b"s:%b|s" % member for member in members))
    assert native == {("set", "s", (), NOW_MS // 1000): {xxh64_intdigest(member) for member in members}}


def member_that_hashes_to_zero() -> bytes:
    """XXH64 of eight bytes can be inverted: bytes that hash to 0."""
    one, two, four, five = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
    size = 1 << 64

    def turned(word: int, bits: int) -> int:
        return ((word << bits) | (word >> (64 - bits))) % size

    state = turned((0 - four) * pow(one, -1, size) % size, 64 - 27)  # the last steps keep 0 as it is
    lane = (state ^ (five + 8)) * pow(one, -1, size) % size
    return (turned(lane, 64 - 31) * pow(two, -1, size) % size).to_bytes(8, "little")


def test_the_member_zero() -> None:
    zero = member_that_hashes_to_zero()
    assert xxh64_intdigest(zero) == 0
    assert not {*zero} & {*b"|\n"}
    native, python = both(b"\n".join([b"s:%b|s" % zero, b"s:a|s", b"s:%b|s" % zero]))
    assert native == python
    assert next(iter(native.values())) == {0, xxh64_intdigest(b"a")}


@pytest.mark.parametrize("kind", ["c", "g", "d", "s"])
@pytest.mark.parametrize("static", [{}, {"region": "eu"}, {"region": "x" * 1_024, "zone": "z" * 8_000}])
def test_tags_of_any_length(kind: str, static: dict[str, str]) -> None:
    """Short ones take four bytes of a series, longer ones, and those far into their text, eight."""
    lines = [
        f"n{key}:1|{kind}|#b,{'k' * key}:{'v' * value},a:b"
        for key in (1, 126, 127, 128, 300)
        for value in (1, 1_022, 1_023, 1_024, 9_000)
    ]
    many = [",".join(f"{'k' * 100}{i}:{'v' * size}" for i in range(60)) for size in (10, 30, 31, 40, 100)]
    lines += [f"many:1|{kind}|#{tags}" for tags in many]
    lines += [f"{'n' * size}:1|{kind}|#b,t:v" for size in range(8_170, 8_200)]
    limits = Limits(max_tag_bytes=10_000, max_name_bytes=10_000)
    native, python = both("\n".join(lines).encode(), lines=limits, tags=static)
    assert native == python
    assert len(native) == len(lines)


def test_sums_that_overflow_are_held_at_the_largest_number() -> None:
    """The indexer refuses infinities, for any lines after them."""
    for sign in (b"", b"-"):
        large = sign + b"1.7e308"
        lines = [b"c:%b|c" % value for value in (large, large, b"-1.7e308", b"-1e200")]
        lines += [b"d:%b|d|@0.5" % (sign + b"8e307")] * 3 + [b"g:%b|g|#a" % large] * 2
        lines.append(b"fine:1|c")
        native, python = both(b"\n".join(lines))
        assert native == python
        assert native["counter", "c", (), NOW_MS // 1000] == float(sign + b"1") * MAX_NUMBER
        assert native["counter", "fine", (), NOW_MS // 1000] == 1.0


def test_the_weight_of_a_head_is_its_own() -> None:
    lines = [
        f"{name}:2|{kind}{rate}" for name in "ab" for kind in "cd" for rate in ("", "|@0.5", "|@1", "|@0.1")
    ]
    native, python = both("\n".join(lines * 2).encode())
    assert native == python


def test_frames_are_as_large_as_asked() -> None:
    core = NativeCore(AgentSettings())
    core.add(b"\n".join(b"x.%d:1|c|#a:b" % i for i in range(1_000)), NOW_MS)
    core.flush_all(NOW_MS)
    assert [f.rows for f in frames(core, max_rows=300)] == [300, 300, 300, 100]
    core.add(b"\n".join(b"x.%d:1|c|#a:b" % i for i in range(1_000)), NOW_MS)
    core.flush_all(NOW_MS)
    small = frames(core, max_bytes=1_000)
    assert sum(f.rows for f in small) == 1_000
    assert all(0 < f.rows < 20 for f in small)


@pytest.mark.parametrize("length", [1, 31, 32, 255, 256, 65_535, 65_536])
def test_strings_of_any_length(length: int) -> None:
    limits = Limits(max_line_bytes=1 << 20, max_name_bytes=65_536, max_tag_bytes=65_536, max_tags=1_000)
    name, bare = b"n" * length, b"b" * length
    native, python = both(b"%b:1|c|#%b,k:v" % (name, bare), lines=limits)
    assert native == python
    assert len(native) == 1


def test_as_many_tags_as_allowed() -> None:
    limits = Limits(max_line_bytes=1 << 20, max_tags=1_000)
    tags = [b"k%d:v%d" % (i, i) for i in range(1_000)]
    random.Random(1).shuffle(tags)
    native, python = both(b"n:1|c|#" + b",".join(tags), lines=limits, tags={"k3": "mine", "pod": "web"})
    assert native == python
    assert len(next(iter(native))[2]) == 1_001


def test_spellings_of_a_series_share_its_last_value() -> None:
    core = NativeCore(AgentSettings(lines=Limits(gauge_deltas="signed")))
    core.add(b"g:5|g|#a:1,b:2\ng:+1|g|#b:2,a:1\ng:+1|g|#a:0,b:2,a:1|c:x", NOW_MS)
    assert core.live_series == core.remembered_series == 1
    (value,) = flushed(core).values()
    assert value["last"] == (NOW_MS, 7.0)


def test_a_series_outlives_the_head_whose_text_it_uses() -> None:
    limits = Limits(gauge_deltas="signed")
    core = NativeCore(AgentSettings(lines=limits, aggregate=AggregateSettings(max_series=50)))
    for turn in range(200):
        lines = [b"g:+1|g|#b:2,a:1" if turn else b"g:+1|g|#a:1,b:2"]  # the first spelling comes once
        lines += [b"x%d.%d:1|c" % (turn, i) for i in range(20)]
        core.add(b"\n".join(lines), NOW_MS + turn)
    state = flushed(core)
    assert state["gauge", "g", (("a", "1"), ("b", "2")), NOW_MS // 1000]["last"] == (NOW_MS + 199, 200.0)


def test_a_mapper_is_asked_once_per_head() -> None:
    asked = list[str]()

    def mapper(head: MetricKey) -> MetricKey | Skip:
        asked.append(head.name)
        if head.name == "broken":
            raise ValueError("never mind")
        if head.name == "drop":
            return Skip.MAPPING
        if head.name == "same":
            return head
        return MetricKey(Kind.GAUGE, "mapped", (("é", "ü"),), scale=2.0)

    core = NativeCore(AgentSettings(tags={"pod": "web"}), mapper)
    for _ in range(3):
        core.add(b"drop:1|c\nsame:1|c|#x:y\nother:3|c\nbroken:1|c\nnot a line\nbad:1|x", NOW_MS)
    assert asked == ["drop", "same", "other", "broken"]
    assert core.stats.skipped == {Skip.MAPPING: 6}
    state = flushed(core)
    assert state["counter", "same", (("pod", "web"), ("x", "y")), NOW_MS // 1000] == 3.0
    assert state["gauge", "mapped", (("pod", "web"), ("é", "ü")), NOW_MS // 1000]["sum"] == 18.0
    assert len(state) == 2


def test_timers_in_seconds() -> None:
    sent = [650, 35, 7, 123_457]
    lines = b"\n".join(b"t:%d|ms\nh:%d|h" % (value, value) for value in sent)
    core = NativeCore(AgentSettings(lines=Limits(timer_unit="s")))
    core.add(lines, NOW_MS)
    state = flushed(core)
    assert state["distribution", "t", (), NOW_MS // 1000]["sum"] == sum(value / 1000 for value in sent)
    assert state["distribution", "h", (), NOW_MS // 1000]["sum"] == sum(sent)


def test_the_definition_is_what_the_python_core_runs() -> None:
    """The names of both counters' sources stay in step; agent/core/interface.py has the rest."""
    assert vars(Aggregator().stats).keys() == {*NativeCore(AgentSettings()).stats.__struct_fields__}
