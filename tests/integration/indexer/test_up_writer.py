"""The writer of `up` goes on after a mistake."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest

from indexer import periodic_task
from indexer.agents.registry import AgentRegistry
from indexer.agents.up import ReportedUp, UpWriter
from indexer.clickhouse.retention import Retention
from indexer.intern.series import Project
from indexer.metrics import Metrics
from indexer.write.writer import Writer


async def test_a_mistake_ends_no_later_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a row for 5 minutes the indexer and all agents would look dead."""
    monkeypatch.setattr(periodic_task, "FIRST_REST_S", 0.001)
    metrics, agents, written = Metrics(), Mock(spec=AgentRegistry), asyncio.Event()
    agents.alive.side_effect = [ZeroDivisionError, []]
    writer, own = Mock(spec=Writer), Mock(spec=ReportedUp)
    own.wins.return_value = False
    writer.write.side_effect = lambda _: written.set()
    up = UpWriter(writer, agents, own, metrics, Project(1, 1), Retention())
    up.start("a:1")
    async with asyncio.timeout(60):
        await written.wait()
    await up.stop()
    assert metrics.registry.get_sample_value("meterhouse_indexer_mistakes_total", {"task": "up"}) == 1
