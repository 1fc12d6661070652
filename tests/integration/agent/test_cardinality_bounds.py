"""Tables of many series and clients are bounded, and equal in both cores."""

from __future__ import annotations

import pytest

from agent.aggregate.top_clients import MAX_CLIENTS
from tests.support.cores.rows import CORES
from tests.unit.agent.test_cardinality import NOW_MS, flushed, opened


@pytest.mark.parametrize("name", CORES)
def test_forgotten_series_make_room(name: str) -> None:
    core = opened(name, max_metric_series=10, gauge_memory_s=60)
    for hour in range(4):
        now_ms = NOW_MS + hour * 3_600_000
        for i in range(12_000):
            core.add(b"a:1|c|#k:%d-%d" % (hour, i % 20), now_ms)
        state = flushed(core)
        assert sum(state.values()) == 12_000.0
        assert len(state) in (10, 11), f"hour {hour}"  # the series for overflow may count, too
        for minutes in (2, 4, 6):
            core.add(b"other:1|c", now_ms + minutes * 60_000)
        flushed(core)


def test_memory_is_bounded_by_the_limits() -> None:
    core = opened("native", max_metric_series=1_000)
    held = []
    for start in range(0, 300_000, 100_000):
        for first in range(start, start + 100_000, 1_000):
            core.add(b"\n".join(b"a:1|c|#k:value-%d" % i for i in range(first, first + 1_000)), NOW_MS)
        held.append(core.memory_bytes)
    assert held[0] == held[1] == held[2]
    assert sum(flushed(core).values()) == 300_000.0


def test_the_table_of_clients_is_bounded_and_equal_in_both_cores() -> None:
    """Of 1,000 clients those with many series are in it, whatever the others send."""
    cores = [opened(name) for name in CORES]
    series = 0
    for turn in range(4):
        for client in range(1_000):
            count = 40 if client in (3, 999) else 1 + (client + turn) % 3
            lines = b"\n".join(b"m:1|c|#k:%d" % n for n in range(series, series + count))
            series += count
            for core in cores:
                core.add(lines, NOW_MS, client.to_bytes(16, "big"))
    tables = [core.top_clients(MAX_CLIENTS + 1) for core in cores]
    assert all(table == tables[0] for table in tables)
    assert len(tables[0]) == MAX_CLIENTS
    assert sum(one.series for one in tables[0]) == series
    found = {int.from_bytes(one.address, "big"): one for one in tables[0]}
    for client in (3, 999):
        assert found[client].series - found[client].error <= 160 <= found[client].series
    assert max(one.error for one in tables[0]) <= series / MAX_CLIENTS
