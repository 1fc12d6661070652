"""Every part of an indexer is paid from one allowance, which several indexers share."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.write.parts_pace import PartsPace, parts_of

DAY_S = 86_400


@pytest.mark.parametrize(
    ("table", "buckets", "kept", "parts"),
    [
        ("incoming_counters", [0, 10], [30, 30], 4),
        ("incoming_sets", [DAY_S - 10, DAY_S], [30, 30], 8),
        ("incoming_gauges", [0, 10], [30, 90], 8),
        ("incoming_gauges", [0, DAY_S, DAY_S], [30, 30, 90], 12),
        ("ingest_distributions", [0, DAY_S], None, 8),
        ("series", [], None, 3),
        ("strings", [], None, 1),
        ("identities", [], None, 1),
        ("heartbeats", [], None, 1),
    ],
)
def test_an_insert_pays_for_each_table_and_partition(
    table: str, buckets: list[int], kept: list[int] | None, parts: int
) -> None:
    columns = {"bucket": np.array(buckets, np.uint32)}
    if kept is not None:
        columns |= {f"days_{name}": np.array(kept, np.uint16) for name in ("10s", "60s", "1h", "1d")}
    assert parts_of(table, columns) == parts


def run(pace: PartsPace, from_ms: int, until_ms: int, parts: int, beside: int = 0) -> int:
    """Write batches as soon as they may begin, and `beside` parts each 4 s; return the number of parts."""
    now_ms, made, last = from_ms, 0, from_ms // 4_000
    while (now_ms := now_ms + max(pace.wait_ms(now_ms), 50)) < until_ms:
        pace.began(now_ms)
        pace.made(parts, now_ms)
        made += parts
        for _ in range((now_ms // 4_000 - last) * beside):
            pace.made(1, now_ms)
            made += 1
        last = now_ms // 4_000
    return made


@pytest.mark.parametrize("parts", [1, 5, 18])
@pytest.mark.parametrize("beside", [0, 1])
def test_the_rate_holds_on_average(parts: int, beside: int) -> None:
    """INSERTs beside batches, such as heartbeats, are paid, too."""
    made = run(PartsPace(3.0), 1_000, 601_000, parts, beside)
    assert made <= 3.0 * 603 + parts + 2 * beside
    assert made >= min(0.95 * 3.0 * 600, parts / 0.05 * 600)


def test_a_batch_waits_for_eight_seconds_at_most_and_what_is_owed_is_paid_later() -> None:
    pace = PartsPace(3.0)
    pace.began(5_000)
    pace.made(69, 5_000)
    assert pace.wait_ms(5_000) == 8_000
    assert pace.wait_ms(9_000) == 4_000
    pace.began(13_000)  # 36 are owed still
    pace.made(3, 13_000)
    assert pace.wait_ms(13_000) == 8_000
    pace.began(25_000)  # 3 of these are owed still
    assert pace.wait_ms(25_000) == 1_001
    pace.made(100_000, 30_000)  # rows of many days; the most that is owed is a minute's
    assert pace.left(30_000) == -180


def test_a_quiet_time_lets_a_burst_go_at_once_and_no_rate_means_no_wait() -> None:
    pace = PartsPace(3.0)
    assert pace.wait_ms(5_000) == 0
    assert pace.left(300_000) == 30
    pace.made(30, 300_000)
    assert pace.wait_ms(300_000) == 0
    pace.made(9, 300_000)
    assert 3_000 <= pace.wait_ms(300_000) <= 3_001
    none = PartsPace(0.0)
    none.made(10_000, 5_000)
    assert none.wait_ms(5_000) == 0


def test_indexers_share_the_rate() -> None:
    paces = [PartsPace(9.0) for _ in range(3)]
    for pace in paces:
        pace.resume(0.0, 0.0)
        pace.share(3, 1_000)
    assert sum(run(pace, 1_000, 301_000, 18, 1) for pace in paces) <= 9.0 * 300 + 3 * 25
    paces[0].share(2, 301_000)
    assert run(paces[0], 301_000, 601_000, 18) == pytest.approx(4.5 * 300, abs=50)


def test_kills_make_no_more_parts() -> None:
    """A process lasts 5 s, makes as many parts as it may, and another one takes its place 1 s later."""
    made, now_ms, left = 0, 1_000, 0.0
    for _ in range(100):
        pace = PartsPace(3.0)
        pace.resume(left, 1.0)
        made += run(pace, now_ms, now_ms + 5_000, 20)
        left = pace.left(now_ms + 5_000)
        now_ms += 6_000
    assert 0.8 * 3.0 * 600 <= made <= 3.0 * 600 + 20


def test_a_restart_takes_nothing_away() -> None:
    """Else the frames of the restart wait for the parts of the batch that was under way."""
    pace = PartsPace(10.0)
    pace.resume(50.0, 1.0)
    assert pace.left(1_000) == 60.0
    pace.resume(95.0, 60.0)
    assert pace.left(1_000) == 100.0, "no more than of one flush"
    pace.resume(-30.0, 1.0)
    assert pace.left(1_000) == -20.0
