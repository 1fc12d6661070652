"""The aggregator: the values of lines, the bucket they land in, and the effect of each bound."""

from __future__ import annotations

from math import copysign

import pytest
from xxhash import xxh64_intdigest

from agent.aggregate.aggregator import Aggregator
from agent.aggregate.exponential_buckets import index_of
from agent.core._native.core import NativeCore
from agent.protocol.line import Ignored, Limits, Reason, Skip
from agent.settings import AgentSettings, AggregateSettings
from tests.support.cores.rows import CORES, new_core, take_rows
from tests.unit.agent.state import State, gauge_state, merge, state_of

T = 1_700_000_000_000  # the start of a bucket
B = T // 1000
DAY = 86_400_000


SIGNED = Limits(gauge_deltas="signed")


def aggregated(*adds: tuple[str, int], **settings: int) -> State:
    """Return the state after lines (separated by newlines) that came at times."""
    aggregator = Aggregator(AggregateSettings(**settings), SIGNED)
    for lines, now_ms in adds:
        aggregator.add(lines.encode(), now_ms)
    assert not aggregator.stats.bad
    return state_of(aggregator.flush_all(T + DAY))


def counter(name: str, value: float, bucket: int = B, **tags: str) -> State:
    return {("counter", name, tuple(sorted(tags.items())), bucket): value}


def gauge(value: object, bucket: int = B) -> State:
    return {("gauge", "g", (), bucket): value}


def test_counters_add_up() -> None:
    assert aggregated(("x:1|c\nx:1|c\nx:1|c", T), ("x:2.5|c\nx:-1|c", T + 9_999)) == counter("x", 4.5)


def test_sample_rate_is_a_weight() -> None:
    assert aggregated(("x:3|c|@0.1\nx:3|c|@0.1\nx:1|c", T)) == counter("x", 61.0)


def test_a_zero_makes_a_row() -> None:
    assert aggregated(("x:0|c", T)) == counter("x", 0.0)


def test_packed_values() -> None:
    assert aggregated(("x:1:2:3|c\nx:4:5|c", T)) == counter("x", 15.0)


def test_spellings_of_one_series_meet() -> None:
    """Order of tags, sample rate, container field and line end do not make another series."""
    lines = "x:1|c|#a:1,b:2\nx:1|c|#b:2,a:1\nx:1|c|@1|#a:1,b:2|c:abc\nx:1|c|#a:1,b:2\r"
    assert aggregated((lines, T)) == counter("x", 4.0, a="1", b="2")


def test_of_two_carriage_returns_only_the_last_ends_the_line() -> None:
    """So `b\\r` is another value than `b`, also when its head is known."""
    lines = "x:1|c|#a:b\r\r\nx:1|c|#a:b\r\nx:1|c|#a:b\r\r"
    assert aggregated((lines, T)) == counter("x", 2.0, a="b\r") | counter("x", 1.0, a="b")


def test_further_samples_of_a_name_are_lines_of_their_own() -> None:
    aggregator = Aggregator()
    aggregator.add(b"x:1|c:2|c|@0.5:3|c:x|c:4|c\nx:1|c", T)
    assert state_of(aggregator.flush_all(T)) == counter("x", 1.0 + 4.0 + 3.0 + 4.0 + 1.0)
    assert (aggregator.stats.lines, aggregator.stats.bad) == (6, {Reason.BAD_VALUE: 1})


def test_sums_are_added_one_after_the_other() -> None:
    """Not by a sum that compensates, as Python's own does from 3.12 on: the native core would differ."""
    state = aggregated(("x:1e100|c\nx:1|c\nx:-1e100|c\nd:1e100|d\nd:1|d\nd:-1e100|d\ng:1e100:1|g", T))
    assert state["counter", "x", (), B] == state["distribution", "d", (), B]["sum"] == 0.0
    assert state["gauge", "g", (), B]["sum"] == 1e100


def test_of_equal_values_the_first_stays_minimum_and_maximum() -> None:
    state = aggregated(("d:0:-0|d\nd2:-0:0|d", T))
    signs = {
        name: [copysign(1.0, state["distribution", name, (), B][edge]) for edge in ("min", "max")]
        for name in ("d", "d2")
    }
    assert signs == {"d": [1.0, 1.0], "d2": [-1.0, -1.0]}


def test_types_are_apart() -> None:
    state = aggregated(("x:1|c\nx:1|g\nx:1|d\nx:1|s", T))
    assert sorted(kind for kind, *_ in state) == ["counter", "distribution", "gauge", "set"]
    assert aggregated(("x:1|h\nx:2|ms\nx:3|d", T)).keys() == {("distribution", "x", (), B)}


def test_static_tags_and_own_ones() -> None:
    aggregator = Aggregator(static_tags={"pod": "p1", "region": "eu"})
    aggregator.add(b"x:1|c\nx:1|c|#region:us", T)
    state = state_of(aggregator.flush_all(T))
    assert state == counter("x", 1.0, pod="p1", region="eu") | counter("x", 1.0, pod="p1", region="us")


def test_own_tags_that_say_what_static_ones_say_make_no_other_series() -> None:
    aggregator = Aggregator(limits=SIGNED, static_tags={"region": "eu"})
    aggregator.add(b"g:3|g\ng:+2|g|#region:eu", T)
    assert aggregator.live_series == aggregator.remembered_series == 1
    state = state_of(aggregator.flush_all(T))
    assert state["gauge", "g", (("region", "eu"),), B]["last"] == (T, 5.0)


def test_gauge_keeps_last_min_max_sum_count() -> None:
    state = aggregated(("g:5|g\ng:1|g", T), ("g:9|g", T + 100), ("g:2|g", T + 300))
    assert state == gauge(gauge_state(T + 300, 2.0, 1.0, 9.0, 17.0, 4))


def test_gauge_of_one_time_keeps_the_last_to_come() -> None:
    lines = f"g:5|g|T{B + 3}\ng:4|g|T{B + 3}\ng:7|g|T{B + 1}"
    assert aggregated((lines, T + 5_000)) == gauge(gauge_state(T + 3_000, 4.0, 4.0, 7.0, 16.0, 3))


def test_gauge_time_wins_over_arrival() -> None:
    """A line with a time ahead of the present stays the last of its bucket."""
    state = aggregated((f"g:1|g\ng:8|g|T{B + 9}\ng:2|g\ng:3|g", T))
    assert state == gauge(gauge_state(T + 9_000, 8.0, 1.0, 8.0, 14.0, 4))


def test_gauge_deltas() -> None:
    state = aggregated(("g:10|g\ng:+5|g\ng:-3|g", T), ("g:+1:-2:+3|g", T + 1))
    assert state == gauge(gauge_state(T + 1, 14.0, 10.0, 15.0, 10 + 15 + 12 + 13 + 11 + 14, 6))


def test_gauge_delta_without_a_value_starts_at_0() -> None:
    assert aggregated(("g:-3|g\ng:+1|g", T)) == gauge(gauge_state(T, -2.0, -3.0, -2.0, -5.0, 2))


def test_gauge_delta_across_buckets_and_flushes() -> None:
    aggregator = Aggregator()
    aggregator.add(b"g:10|g\ng:12|g", T)
    aggregator.add(b"g:+1|g", T + 10_000)
    aggregator.flush_all(T + 10_001)
    aggregator.add(b"g:+1|g", T + 50_000)
    state = state_of(aggregator.flush_all(T + 50_001))
    assert state == gauge(gauge_state(T + 50_000, 14.0, 14.0, 14.0, 14.0, 1), B + 50)


def test_gauge_delta_finds_the_value_under_another_spelling() -> None:
    state = aggregated(("g:10|g|#a:1,b:2", T), ("g:+1|g|#b:2,a:1", T + 20_000))
    assert [value["last"][1] for value in state.values()] == [10.0, 11.0]


@pytest.mark.parametrize(("after_s", "last"), [(60, 11.0), (61, 1.0)])
def test_a_last_value_expires(after_s: int, last: float) -> None:
    state = aggregated(("g:10|g", T), ("g:+1|g", T + after_s * 1000), last_value_s=60)
    assert max(state.items(), key=lambda item: item[0][3])[1]["last"][1] == last


def test_gauge_delta_cannot_leave_the_range_of_a_float() -> None:
    state = aggregated(("g:1.7e308|g\ng:+1.7e308|g", T))
    assert state["gauge", "g", (), B]["last"][1] == 1.7976931348623157e308


def test_timed_gauge_with_sign_is_no_delta() -> None:
    state = aggregated((f"g:10|g|T{B}\ng:-4|g|T{B + 1}", T))
    assert state["gauge", "g", (), B]["last"] == (T + 1000, -4.0)


def test_distribution_state() -> None:
    state = aggregated(("d:1|d\nd:2:-3|ms\nd:0|h\nd:10|d|@0.5\nd:1|d", T))
    assert state == {
        ("distribution", "d", (), B): {
            "positive": {index_of(1.0): 2.0, index_of(2.0): 1.0, index_of(10.0): 2.0},
            "negative": {index_of(3.0): 1.0},
            "zero": 1.0,
            "count": 7.0,
            "sum": 1 + 2 - 3 + 0 + 20 + 1.0,
            "sum_squares": 1 + 4 + 9 + 200 + 1.0,
            "min": -3.0,
            "max": 10.0,
        }
    }


def test_many_values() -> None:
    n = 197
    lines = "\n".join(f"d:{i}|d" for i in range(n))
    value = aggregated((lines, T))["distribution", "d", (), B]
    assert (value["count"], value["sum"], value["zero"], value["max"]) == (n, n * (n - 1) / 2, 1.0, n - 1)
    value = aggregated((lines.replace("d:", "g:").replace("|d", "|g"), T))["gauge", "g", (), B]
    assert (value["count"], value["sum"], value["last"]) == (n, n * (n - 1) / 2, (T, n - 1))


def test_set_members_are_hashed() -> None:
    state = aggregated(("u:joe|s\nu:ann|s\nu:joe|s\nu:a:b|s", T))
    assert state == {("set", "u", (), B): {xxh64_intdigest(m, seed=0) for m in (b"joe", b"ann", b"a:b")}}


def test_lines_land_in_the_bucket_of_their_arrival() -> None:
    state = aggregated(("x:1|c", T - 1), ("x:1|c", T), ("x:1|c", T + 9_999), ("x:1|c", T + 10_000))
    assert state == counter("x", 1.0, B - 10) | counter("x", 2.0) | counter("x", 1.0, B + 10)


def test_lines_land_in_the_bucket_of_their_time() -> None:
    lines = f"x:1|c|T{B - 1}\nx:1|c|T{B}\nx:1|c|T{B - 600}\nx:1|c"
    assert aggregated((lines, T)) == counter("x", 1.0, B - 10) | counter("x", 2.0) | counter(
        "x", 1.0, B - 600
    )


def test_times_outside_the_window_are_clamped_and_counted() -> None:
    aggregator = Aggregator(AggregateSettings(lateness_s=100, future_s=20))
    lines = [f"x:1|c|T{B + dt}" for dt in (-100_000, -101, -100, 0, 20, 21, 999_999)]
    aggregator.add("\n".join(lines).encode(), T)
    assert (aggregator.stats.clamped_old, aggregator.stats.clamped_future) == (2, 2)
    state = state_of(aggregator.flush_all(T))
    assert state == counter("x", 3.0, B - 100) | counter("x", 1.0) | counter("x", 3.0, B + 20)


def test_flush_gives_ended_buckets_only() -> None:
    aggregator = Aggregator()
    aggregator.add(f"x:1|c|T{B - 10}\nx:1|c\nx:1|c|T{B + 30}".encode(), T + 5_000)
    assert [b.start_s for b in aggregator.flush(T + 9_999)] == [B - 10]
    assert [b.start_s for b in aggregator.flush(T + 10_000)] == [B]
    assert aggregator.flush(T + 10_000) == []
    aggregator.add(b"x:1|c|T%d" % B, T + 12_000)  # late, for a bucket that has left
    assert [b.start_s for b in aggregator.flush(T + 12_000)] == [B]
    assert [b.start_s for b in aggregator.flush_all(T + 12_000)] == [B + 30]
    assert aggregator.entries == 0


def test_a_present_bucket_without_samples_makes_no_rows() -> None:
    aggregator = Aggregator()
    aggregator.add(b"bad\nx:nan|c\n\n_e{1,1}:a|b", T)
    assert aggregator.flush_all(T) == []
    aggregator.add(b"x:1|c", T)
    aggregator.flush_all(T)
    aggregator.add(
        b"x:nan|c\nx:|c\nx:1e999|c\nx:1|c|y", T + 10_000
    )  # a known head, nothing good but the last
    assert state_of(aggregator.flush_all(T)) == counter("x", 1.0, B + 10)


def test_the_last_of_a_gauge_is_never_ambiguous_between_two_flushes() -> None:
    """ClickHouse keeps the larger of two values with one time, so times differ."""
    aggregator = Aggregator()
    aggregator.add(b"g:9|g", T + 5)
    first = state_of(aggregator.flush_all(T + 5))
    aggregator.add(b"g:1|g", T + 5)
    merged = merge(first, state_of(aggregator.flush_all(T + 6)))
    assert merged["gauge", "g", (), B]["last"][1] == 1.0


def test_a_clock_set_back_loses_nothing() -> None:
    state = aggregated(("x:1|c", T), ("x:1|c", T - 3_600_000), ("x:1|c", T + 1))
    assert state == counter("x", 2.0) | counter("x", 1.0, B - 3600)


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("known", [False, True], ids=["first of its series", "series is known"])
def test_bad_lines_are_counted_and_spare_their_neighbours(known: bool) -> None:
    aggregator = Aggregator(limits=Limits(max_line_bytes=200))
    if known:
        aggregator.add(b"x:1|c\nw:1|c|@0.1\ng:1|g\nd:1|d\nu:a|s\n" * 2, T)
        aggregator.flush_all(T)
        aggregator.add(b"x:0|c\nw:0|c|@0.1\ng:0|g\nd:0|d\nu:a|s", T)  # bindings of the present bucket
        aggregator.flush(T + 60_000)
    bad = {
        b"x:|c": Reason.EMPTY_VALUE,
        b"u:|s": Reason.EMPTY_VALUE,
        b"x|c": Reason.NO_VALUE,
        b"x:nan|c": Reason.BAD_VALUE,
        b"x:1_0|c": Reason.BAD_VALUE,
        b"g:1e999|g": Reason.BAD_VALUE,
        b"g:+|g": Reason.BAD_VALUE,
        b"w:1.7e308|c|@0.1": Reason.BAD_VALUE,
        b"d:1:x|d": Reason.BAD_VALUE,
        b"d:1::2|d": Reason.EMPTY_VALUE,
        b"x:" + b"0" * 200 + b"1|c": Reason.LINE_TOO_LONG,
        b"u:" + b"m" * 200 + b"|s": Reason.LINE_TOO_LONG,
    }
    lines_before = aggregator.stats.lines
    aggregator.add(b"x:1|c\n" + b"\nx:1|c\n".join(bad) + b"\nx:1|c", T + 60_000)
    counted: dict[Reason, int] = {}
    for reason in bad.values():
        counted[reason] = counted.get(reason, 0) + 1
    assert aggregator.stats.bad == counted
    assert aggregator.stats.lines - lines_before == 2 * len(bad) + 1
    state = state_of(aggregator.flush_all(T + 60_000))
    assert state == counter("x", len(bad) + 1.0, B + 60)


def test_counts_of_what_is_left_out() -> None:
    aggregator = Aggregator()
    for _ in range(3):  # known heads are counted, too
        aggregator.add(b"_e{1,1}:a|b\n_sc|a|0\n\n\r\nx:1|c|zz\nx:1|c|#a:,b:1,b:2", T)
    stats = aggregator.stats
    assert stats.lines == 12
    assert stats.skipped == {Skip.EVENT: 3, Skip.SERVICE_CHECK: 3}
    assert stats.ignored == {Ignored.UNKNOWN_FIELD: 3, Ignored.EMPTY_TAG: 3, Ignored.DUPLICATE_TAG: 3}


# ---------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    "template",
    ["x{i}:1|c", "u:{i}|s", "d:1e{i}|d", "d:1e{i}|d|@0.5", "x:1|c|T{t}"],
    ids=["series", "set members", "histogram entries", "weighted ones", "buckets"],
)
def test_memory_bound_asks_for_an_early_flush_that_loses_nothing(template: str) -> None:
    lines = [template.format(i=i, t=B - 10 * i).encode() for i in range(300)]
    bounded, free = Aggregator(AggregateSettings(max_entries=50)), Aggregator()
    parts, most = [], 0
    for line in lines:
        bounded.add(line, T)
        free.add(line, T)
        most = max(most, bounded.entries)
        if bounded.full:
            parts.append(state_of(bounded.flush_all(T)))
            assert bounded.entries == 0
    parts.append(state_of(bounded.flush_all(T)))
    assert bounded.stats.early_flushes == len(parts) - 1 >= 2
    assert most <= 50 + 2  # one line can bring a bucket, a cell, an entry
    assert merge(*parts) == state_of(free.flush_all(T))


def test_series_memory_is_bounded() -> None:
    aggregator = Aggregator(AggregateSettings(max_series=10))
    for i in range(100):
        aggregator.add(f"g{i}:{i}|g".encode(), T)
    aggregator.flush_all(T)
    assert aggregator.remembered_series <= 20
    assert aggregator.forgotten_heads >= 80
    aggregator.add(b"g99:+1|g\ng0:+1|g", T + 1)  # the one is remembered, the other starts anew
    state = state_of(aggregator.flush_all(T + 1))
    assert state["gauge", "g99", (), B]["last"][1] == 100.0
    assert state["gauge", "g0", (), B]["last"][1] == 1.0


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize(("tag_bytes", "remembered"), [(50, 100), (800, 50)])
def test_a_long_head_counts_as_several(name: str, tag_bytes: int, remembered: int) -> None:
    """As one more for each 512 bytes: of 100 long ones those of the last two turns stay."""
    core = new_core(name, AgentSettings(aggregate=AggregateSettings(max_series=100)))
    for number in range(100):
        core.add(b"x:1|c|#t:%0*d,u:%0*d" % (tag_bytes, number, tag_bytes, 1), T)
    core.flush_all(T)
    take_rows(core)
    if isinstance(core, NativeCore):
        core.sweep()
    assert core.remembered_series == remembered
    assert core.forgotten_heads == (0 if remembered == 100 else 100 - remembered)


def test_series_not_in_use_are_forgotten() -> None:
    aggregator = Aggregator(AggregateSettings(gauge_memory_s=60))
    aggregator.add(b"old:1|g\nx:1|c", T)
    for minute in range(1, 5):
        aggregator.flush_all(T + minute * 60_000)
        aggregator.add(b"x:1|c", T + minute * 60_000)
    assert aggregator.remembered_series == 1
    assert aggregator.forgotten_heads == 0
