"""Reloads at the same time, and while an indexer hangs."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any, cast

from shim.engine.live_edge import LiveEdge
from shim.metrics import ShimMetrics
from shim.notify.server_notices import ServerNotices
from shim.rules.alert_sink import NoAlerts
from shim.rules.rule_directory import RuleDirectory
from shim.rules.rule_evaluator import RuleEvaluator
from shim.rules.running_rules import RunningRules
from shim.rules.tenant_group import RunnerParts
from shim.settings import IndexersSettings, RulesSettings, ShimSettings
from shim.ticks.lease import SoleEvaluator


class MetDirectory(RuleDirectory):
    """Notices whether two threads load at the same time."""

    def __init__(self) -> None:
        super().__init__("", None)
        self.barrier = threading.Barrier(2)
        self.loads: list[bool] = []

    def load(self) -> bool:
        try:
            self.barrier.wait(0.2)
            self.loads.append(True)
        except threading.BrokenBarrierError:
            self.loads.append(False)
        return False


def test_two_reloads_are_made_one_after_the_other() -> None:
    directory = MetDirectory()
    evaluator = RuleEvaluator(directory, LiveEdge(5.0), cast("RunnerParts", None))

    async def both() -> None:
        await asyncio.gather(evaluator.reload(), evaluator.reload())

    asyncio.run(both())
    assert directory.loads == [False, False]


async def test_files_are_read_while_all_writes_wait_for_an_indexer(tmp_path: Path) -> None:
    hanging = socket.create_server(("127.0.0.1", 0))
    settings = ShimSettings(
        rules=RulesSettings(path=str(tmp_path), reload_s=3_600),
        indexers=IndexersSettings(urls=[f"http://127.0.0.1:{hanging.getsockname()[1]}"]),
    )
    none = cast("Any", None)
    rules = RunningRules(settings, none, LiveEdge(5.0), none, none, none, none, ShimMetrics(), None)
    rules.start(NoAlerts(), SoleEvaluator(), "", ServerNotices())
    assert rules.evaluator is not None
    store = rules.evaluator.parts.store
    writes = [asyncio.ensure_future(store(b"[]", str(n))) for n in range(20)]
    try:
        await asyncio.wait_for(rules.evaluator.reload(), 120)
    finally:
        hanging.close()
        for write in writes:
            write.cancel()
        await rules.stop()
