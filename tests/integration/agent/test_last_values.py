"""An export of last values beside a thread that adds lines, in each core."""

from __future__ import annotations

import threading

import pytest

from agent.aggregate.last_values import decode
from agent.settings import AgentSettings, AggregateSettings
from tests.support.cores.rows import CORES, new_core, take_rows
from tests.unit.agent.test_last_values import FOREVER, HOUR, T


@pytest.mark.parametrize("core", CORES)
def test_an_export_beside_lines_misses_nothing(core: str) -> None:
    """Gauges that come, are forgotten and come back while values are exported are in every export."""
    running = new_core(core, AgentSettings(aggregate=AggregateSettings(max_series=20)))
    names = [b"g%d" % i for i in range(200)]
    running.add(b"\n".join(name + b":1|g" for name in names), T)
    stop = threading.Event()

    def add() -> None:
        now_ms = T
        while not stop.is_set():
            now_ms += 1
            running.add(names[now_ms % 200] + b":+1|g", now_ms)
            running.flush_all(now_ms)
            take_rows(running)

    adding = threading.Thread(target=add)
    adding.start()
    try:
        sizes = {len(decode(running.export_last_values(T + HOUR), 0, FOREVER)) for _ in range(100)}
    finally:
        stop.set()
        adding.join()
    assert sizes == {200}
    running.close()
