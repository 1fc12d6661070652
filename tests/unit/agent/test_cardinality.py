"""Limits of series: totals stay exact, nothing beyond a limit is kept, and known series go on."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from agent.aggregate.state import Series
from agent.aggregate.top_clients import TopClient
from agent.core.interface import Core
from agent.net.sockets import address_of
from agent.protocol.line import Kind
from agent.settings import AgentSettings, AggregateSettings
from agent.telemetry.top_series import MAX_SHOWN, top_series
from agent.wire.frame import Frame, Sender, decode, encode
from tests.support.cores.rows import CORES, new_core
from tests.unit.agent.state import state_of_frames

SENDER: Final = Sender(agent="a", epoch=1)
NOW_MS: Final = 1_700_000_001_000
OVERFLOW: Final = (("__overflow__", "true"),)


def opened(core: str, tags: dict[str, str] | None = None, **limits: int) -> Core:
    return new_core(core, AgentSettings(aggregate=AggregateSettings(**limits), tags=tags or {}))


def flushed(core: Core) -> dict[tuple[str, str, tuple[tuple[str, str], ...]], Any]:
    """Kind, name and tags -> state, of all that was added."""
    core.flush_all(NOW_MS)
    frames = list[Frame]()
    while frame := core.next_frame(SENDER, len(frames) + 1, NOW_MS, max_rows=5_000, max_bytes=4 << 20):
        frames.append(decode(encode(frame)))
    return {(key[0], key[1], key[2]): value for key, value in state_of_frames(frames).items()}


@pytest.mark.parametrize("name", CORES)
def test_totals_stay_and_gauges_keep_the_last_value(name: str) -> None:
    core = opened(name, max_metric_series=3)
    for i in range(10):
        core.add(b"c:%d|c|@0.5|#k:%d\nd:%d|ms|#k:%d\ng:%d|g|#k:%d\ns:%d|s|#k:%d" % ((i, i) * 4), NOW_MS + i)
    state = flushed(core)
    assert sum(1 for key in state if key[1] == "c") == 4
    assert sum(value for key, value in state.items() if key[1] == "c") == 2.0 * sum(range(10))
    assert state["counter", "c", OVERFLOW] == 2.0 * sum(range(3, 10))
    folded = state["distribution", "d", OVERFLOW]
    assert (folded["count"], folded["sum"], folded["min"], folded["max"]) == (
        7.0,
        sum(range(3, 10)),
        3.0,
        9.0,
    )
    assert state["gauge", "g", OVERFLOW]["last"][1] == 9.0
    assert len(state["set", "s", OVERFLOW]) == 7
    assert core.stats.overflow_lines == 4 * 7
    core.add(
        b"c:1|c|#k:1\nc:1|c|@0.5|#k:0\nc:1|c|#k:9", NOW_MS
    )  # other spellings of known series, and one beyond
    again = flushed(core)
    assert again["counter", "c", (("k", "1"),)] == 1.0
    assert again["counter", "c", (("k", "0"),)] == 2.0
    assert again["counter", "c", OVERFLOW] == 1.0


@pytest.mark.parametrize("name", CORES)
def test_types_of_one_name_count_together_and_metrics_do_not(name: str) -> None:
    core = opened(name, {"pod": "p"}, max_metric_series=2)
    core.add(b"a:1|c\na:1|g\na:1|s|#x:1\na:1|c|#x:1\nb:1|c", NOW_MS)
    assert set(flushed(core)) == {
        ("counter", "a", (("pod", "p"),)),
        ("gauge", "a", (("pod", "p"),)),
        ("set", "a", (*OVERFLOW, ("pod", "p"))),
        ("counter", "a", (*OVERFLOW, ("pod", "p"))),
        ("counter", "b", (("pod", "p"),)),
    }


@pytest.mark.parametrize("name", CORES)
def test_beyond_the_limit_of_all_series_new_metrics_are_one(name: str) -> None:
    core = opened(name, max_total_series=2)
    core.add(b"a:1|c\nb:1|c\na:2|c|#x:1\nc:4|c\nd:8|c|#x:1", NOW_MS)
    assert flushed(core) == {
        ("counter", "a", ()): 1.0,
        ("counter", "b", ()): 1.0,
        ("counter", "a", OVERFLOW): 2.0,
        ("counter", "__overflow__", OVERFLOW): 12.0,
    }


def test_a_series_for_overflow_is_told_from_others() -> None:
    assert not Series(Kind.COUNTER, "a", ()).overflow


@pytest.mark.parametrize("name", CORES)
def test_the_top_names_metrics_and_tag_keys(name: str) -> None:
    core = opened(name, {"pod": "p"})
    core.add(b"\n".join(b"big:1|c|#user:u%d,env:prod" % i for i in range(200)), NOW_MS)
    core.add(b"\n".join(b"m%d:1|c" % i for i in range(100)), NOW_MS)
    page = msgspec.json.decode(top_series(core))
    assert (page["remembered_series"], page["overflow_lines"]) == (300, 0)
    assert page["metrics"][0] == {"metric": "big", "series": 200}
    assert len(page["metrics"]) == MAX_SHOWN
    assert page["sampled_series"] == 300
    assert page["tag_keys"] == [
        {"key": "user", "values": 200, "series": 200},
        {"key": "env", "values": 1, "series": 200},
        {"key": "pod", "values": 1, "series": 300},
    ]


@pytest.mark.parametrize("name", CORES)
def test_clients_are_counted_when_a_series_is_seen_first(name: str) -> None:
    core = opened(name, max_metric_series=3)
    one, other = address_of("10.0.0.1"), address_of("2001:db8::7")
    for _ in range(3):
        core.add(b"a:1|c|#k:1\na:1|c|@0.5|#k:1\nb:1|c", NOW_MS, one)
        core.add(b"a:1|c|#k:1\na:1|c|#k:2\na:1|c|#k:3", NOW_MS, other)
    core.add(b"a:1|c|#k:4\na:1|c|#k:5", NOW_MS, one)  # beyond the limit, and the series that takes them
    core.add(b"z:1|c", NOW_MS)
    assert core.top_clients(2) == [TopClient(one, 5, 0), TopClient(other, 2, 0)]
    clients = msgspec.json.decode(top_series(core))["clients"]
    assert [(c["client"], c["series"]) for c in clients] == [("10.0.0.1", 5), ("2001:db8::7", 2), ("unix", 1)]
