"""The base of a delta: it survives all that makes the agent forget, in each core and across the two."""

from __future__ import annotations

import struct

import pytest

from agent.aggregate.last_values import RECORD, decode, encode, key_of
from agent.core.interface import Core
from agent.protocol.line import Limits
from agent.settings import AgentSettings, AggregateSettings
from tests.support.cores.rows import CORES, new_core, take_rows

T = 1_700_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR
KEY = key_of("g", [])
FOREVER = 1 << 62


def last_of(core: Core, name: str = "g") -> float:
    """Return the last value of the latest bucket that was not yet taken."""
    core.flush_all(T + 400 * DAY)
    (bits,) = [row[4][1] for row in take_rows(core)["gauge"] if row[1] == name][-1:]
    value: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return value


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(
    ("settings", "between"),
    [
        (AggregateSettings(gauge_memory_s=60), [(b"x:1|c", T + i * 61_000) for i in range(1, 6)]),
        (AggregateSettings(max_series=1), [(b"x%d:1|c" % i, T + i) for i in range(1, 50)]),
        (AggregateSettings(max_entries=16), [(b"x%d:1|c" % i, T + i) for i in range(1, 50)]),
        (AggregateSettings(), []),
    ],
    ids=["gauge_memory_s", "max_series", "max_entries", "time alone"],
)
def test_a_delta_finds_its_base(
    core: str, settings: AggregateSettings, between: list[tuple[bytes, int]]
) -> None:
    running = new_core(core, AgentSettings(aggregate=settings))
    running.add(b"g:100|g", T)
    for line, now_ms in between:
        running.add(line, now_ms)
        running.flush(now_ms)
        take_rows(running)
    running.add(b"g:+1|g", T + 29 * DAY)
    assert last_of(running) == 101.0
    running.close()


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(("later_ms", "value"), [(DAY, 101.0), (DAY + 1, 1.0)])
def test_but_not_for_ever(core: str, later_ms: int, value: float) -> None:
    running = new_core(core, AgentSettings(aggregate=AggregateSettings(last_value_s=86_400)))
    running.add(b"g:100|g", T)
    running.add(b"g:+1|g", T + later_ms)
    assert last_of(running) == value
    running.close()


@pytest.mark.parametrize("before", CORES)
@pytest.mark.parametrize("after", CORES)
def test_a_restart_keeps_it(before: str, after: str) -> None:
    """Whichever core runs before and after, for gauges with static tags, tags in names and odd names."""
    settings = AgentSettings(tags={"pod": "p"}, lines=Limits(name_tags=("influx",)))
    running = new_core(before, settings)
    running.add("g:100|g\nä,k=é:7|g\nn:-5|g\nlate:3|g|T1699999000".encode(), T)
    running.add(b"g:+5|g\nfar:1|g|T1700000050", T + 20_000)
    values = running.export_last_values(T + 21_000)
    running.close()
    assert len(decode(values, 0, FOREVER)) == 5
    running = new_core(after, settings)
    running.import_last_values(values, T + HOUR)
    running.add("g:+1|g\nä,k=é:+1|g\nn:-1|g\nlate:+1|g\nfar:+1|g".encode(), T + HOUR)
    assert decode(running.export_last_values(T + HOUR), 0, FOREVER) == {
        key_of(name, [*tags, ("pod", "p")]): (value, T + HOUR)
        for name, tags, value in (
            ("g", [], 106.0), ("ä", [("k", "é")], 8.0), ("n", [], -6.0), ("late", [], 4.0), ("far", [], 2.0),
        )
    }  # fmt: skip
    running.close()


@pytest.mark.parametrize("core", CORES)
def test_what_no_delta_can_follow_is_not_kept(core: str) -> None:
    running = new_core(core, AgentSettings())
    running.add(b"a:1|g|#k:v\nb:2|g|c:id\nc:3|c\nd:4|ms\nboth:5|g|c:id", T)
    assert running.export_last_values(T) == b""
    running.add(b"both:+1|g", T)
    assert decode(running.export_last_values(T), 0, FOREVER) == {key_of("both", []): (6.0, T)}
    running.close()


@pytest.mark.parametrize("core", CORES)
def test_there_is_a_bound(core: str) -> None:
    settings = AgentSettings(aggregate=AggregateSettings(max_last_values=10, max_series=1))
    running = new_core(core, settings)
    for i in range(100):
        running.add(b"g%d:%d|g" % (i, i), T + i)
        running.flush_all(T + i)
        take_rows(running)
    kept = decode(running.export_last_values(T + 100), 0, FOREVER)
    assert 10 <= len(kept) <= 24
    assert {key_of(f"g{i}", []) for i in range(90, 100)} <= set(kept)
    assert 70 <= running.forgotten_last_values <= 90
    running.close()


@pytest.mark.parametrize("core", CORES)
def test_none_are_kept_where_a_setting_says_so(core: str) -> None:
    running = new_core(core, AgentSettings(aggregate=AggregateSettings(max_last_values=0, max_series=1)))
    running.import_last_values(encode({KEY: (100.0, T)}), T)
    running.add(b"g:+1|g", T)
    assert running.export_last_values(T) == b""
    running.add(b"x:1|c", T)
    running.add(b"y:1|c", T)
    assert last_of(running) == 1.0
    running.close()


BAD = encode({1: (float("nan"), T), 2: (float("inf"), T), 0: (1.0, T), 3: (1.0, -5), 4: (1.0, T - 31 * DAY)})


@pytest.mark.parametrize("core", CORES)
def test_records_that_cannot_be(core: str) -> None:
    """A time to come is one of now; of several records of a key the latest counts; a cut one does not."""
    running = new_core(core, AgentSettings(aggregate=AggregateSettings(future_s=60)))
    good = encode({KEY: (5.0, T)}) + encode({KEY: (4.0, T - 1)}) + encode({9: (1.0, T + DAY)})
    running.import_last_values(BAD + good + b"\1\2\3", T)
    assert decode(running.export_last_values(T), 0, FOREVER) == ({KEY: (5.0, T), 9: (1.0, T + 60_000)})
    running.add(b"g:+1|g", T + 1)
    assert last_of(running) == 6.0
    running.close()


def test_a_key_is_of_all_texts() -> None:
    keys = [("a", []), ("a", [("b", "c")]), ("ab", [("c", "")]), ("a", [("bc", "")]), ("", [("a", "bc")])]
    assert len({key_of(name, tags) for name, tags in keys}) == len(keys)
    assert RECORD.size == 24
