"""The live edge with real agents: a steady one, a slow one, one that stops and one that starts.

Buckets are shown soon after their end, and no point that was shown changes. `python -m tests.bench.live_edge`
measures how soon, over more of them; here the time is printed and has a bound that a busy machine keeps.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.product import VISIBLE_S, Starter, Up, wait_for
from tests.support.live_edge import TOTAL, Scene, Watcher
from tests.support.worlds import processes

pytestmark = [pytest.mark.e2e, pytest.mark.long]

BUCKETS = 3
#: So long a bucket is waited for: none is shown before its agents are past it, however busy the machine is.
SETTLE_S = 300
#: Much less: buckets are shown as their agents are past them.
SHOWN_S = 150
PATIENT = {"METERHOUSE_SHIM__SETTLE_S": str(SETTLE_S)}


def test_points_come_soon_and_do_not_change(start: Starter, tmp_path: Path) -> None:
    """Runs in one process and in several, at the same time: it takes as long as buckets do."""
    with processes(start, tmp_path / "clickhouse", "edge") as services, ThreadPoolExecutor(2) as threads:
        up = start.up(environ=PATIENT)
        urls = [services.indexer()[1], services.indexer()[1]]
        scenes = [Scene(start, up.api, [up.indexer]), Scene(start, services.api(PATIENT), urls)]
        watched = list(threads.map(lambda scene: scene.play(BUCKETS, pause_s=0.5), scenes))
        for mode, scene, watcher in zip(("up", "separate"), scenes, watched, strict=True):
            print(f"{mode}: {watcher.report()}")
            assert watcher.changes == [], f"{mode}: {len(watcher.changes)} of {len(watcher.values)} points"
            assert watcher.latencies_s()[-1] < SHOWN_S, f"{mode}: {watcher.report()}"
            _all_is_counted(scene, watcher)


def _all_is_counted(scene: Scene, watcher: Watcher) -> None:
    """Every line that was sent is in a point that was shown, or before the first of them."""
    begin_s = watcher.begin_s

    def counted() -> bool:
        watcher.look()
        before = scene.api.one("sum(edge)", begin_s - 10) or 0.0
        total = watcher.counted() + before
        assert total <= scene.sent, f"{total} of {scene.sent} lines"
        return total == scene.sent

    wait_for(counted, f"all of {scene.sent} lines are counted", SETTLE_S + 30)
    assert watcher.changes == []
    assert any(point[0] == TOTAL for point in watcher.values)


def test_up_is_there_at_once_and_goes_with_its_agent(start: Starter) -> None:
    """`absent(up)` does not fire on a new installation; `up` has labels and metadata as any metric has."""
    up: Up = start.up()
    jobs = {"meterhouse-agent", "meterhouse-indexer"}

    def there() -> bool:
        found = up.api.instant("up == 1", time.time())
        return {dict(labels)["job"] for labels in found} == jobs

    wait_for(there, "both are up", VISIBLE_S)
    assert up.api.instant("absent(up)", time.time()) == {}
    assert set(up.api.data("label/job/values")) == jobs
    assert [m["type"] for m in up.api.data("metadata", metric="up")["up"]] == ["gauge"]
    later_s = time.time() + 400  # the present data is beyond the lookback then
    assert up.api.instant("up", later_s) == {}
