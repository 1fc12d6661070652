"""The tasks of subscriptions go on after a mistake of ours: they would be missed only when results are."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from shim.metrics import ShimMetrics
from shim.settings import SubscriptionSettings
from shim.subscriptions.result_delivery import ResultDelivery
from shim.subscriptions.subscription_evaluator import SubscriptionEvaluator


async def goes_on(monkeypatch: pytest.MonkeyPatch, of: Any, method: str) -> None:
    """Wait for the second call of a method whose first one raises."""
    calls, again = iter((True, False)), asyncio.Event()

    async def failing(_: object) -> None:
        if next(calls, False):
            raise ZeroDivisionError
        again.set()

    monkeypatch.setattr(type(of), method, failing)
    task = asyncio.create_task(of.run())
    async with asyncio.timeout(60):
        await again.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_evaluator(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    settings, metrics = Mock(), ShimMetrics()
    settings.subscriptions.every_s = 0.001
    await goes_on(
        monkeypatch, SubscriptionEvaluator(Mock(), Mock(), Mock(), Mock(), settings, metrics), "round"
    )
    assert "event=subscriptions_failed" in caplog.text
    assert metrics.subscription_ticks.labels("delayed")._value.get() == 1


async def test_the_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    sink, metrics = Mock(close=AsyncMock()), ShimMetrics()
    sink.name = "stream"
    delivery = ResultDelivery(Mock(), sink, Mock(), SubscriptionSettings(every_s=0.001), metrics)
    await goes_on(monkeypatch, delivery, "begin")
    assert metrics.subscription_deliveries.labels("stream", "delayed")._value.get() == 1
