"""Alerts of the whole product to a real Alertmanager: fire, group, resolve, kill -9 of either in between."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.product import Starter, Up, get
from tests.support.alertmanager import AlertmanagerServer
from tests.support.webhook_receiver import WebhookReceiver

pytestmark = [pytest.mark.e2e, pytest.mark.long]

RULES = """
groups:
- name: queues
  interval: 1s
  rules:
  - {record: "queue:length:max", expr: "max by (queue) (queue_length)"}
  - alert: Full
    expr: queue:length:max > 5
    labels: {severity: page}
    annotations: {summary: "{{ $labels.queue }} has {{ $value }}"}
- name: past
  interval: 1m
  rules: [{record: "queue:length:past", expr: "old_length"}]
"""


class World:
    """A product, an Alertmanager and the receiver of its webhook, and one of the product's own webhook."""

    def __init__(self, folder: Path, receiver: WebhookReceiver, direct: WebhookReceiver) -> None:
        self.receiver = receiver
        self.direct = direct
        self.alertmanager = AlertmanagerServer(folder, f"{receiver.url}/hook")
        self.starter = Starter(folder)
        (folder / "rules.yml").write_text(RULES)
        self.environ = {
            "METERHOUSE_SHIM__RULES__PATH": str(folder / "rules.yml"),
            "METERHOUSE_SHIM__ALERTMANAGER__URLS": json.dumps([self.alertmanager.url]),
            "METERHOUSE_SHIM__ALERT_WEBHOOK__URL": f"{direct.url}/direct",
            # Lengths are sent once, and last for the whole test.
            "METERHOUSE_SHIM__LOOKBACK_S": "3600",
        }

    def up(self, resend_s: int = 60) -> Up:
        """Start it. Alerts are valid for four resends: longer than a restart takes on a busy machine."""
        resend = {"METERHOUSE_SHIM__ALERTMANAGER__RESEND_S": str(resend_s)}
        return self.starter.up(environ=self.environ | resend)

    def told(self, status: str) -> list[list[str]]:
        """Return the queues of each message with this status, in order."""
        return [
            sorted(alert["labels"]["queue"] for alert in body["alerts"] if alert["status"] == status)
            for body in self.receiver.bodies()
            if body["status"] == status
        ]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    receiver, direct = WebhookReceiver(), WebhookReceiver()
    await receiver.start()
    await direct.start()
    made = World(tmp_path, receiver, direct)
    try:
        await asyncio.to_thread(made.alertmanager.start)
        yield made
    finally:
        await asyncio.to_thread(made.starter.clear)
        await asyncio.to_thread(made.alertmanager.kill)
        await receiver.stop()
        await direct.stop()


def sent(up: Up) -> float:
    """Return how many alerts Alertmanager took."""
    lines = get(f"{up.api.url}/metrics")[1].decode().splitlines()
    name = 'meterhouse_shim_notifications_sent_total{receiver="http'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


async def test_an_alert_outlives_both_and_is_told_once(world: World) -> None:
    up = await asyncio.to_thread(world.up)
    now_s = int(time.time())
    up.send([f"old.length:{minute}|g|T{now_s - 60 * minute}" for minute in range(10, 40)])
    up.send(["queue.length:9|g|#queue:mail", "queue.length:8|g|#queue:print", "queue.length:1|g|#queue:idle"])
    await world.receiver.until(lambda: bool(world.told("firing")), 180)
    assert world.told("firing") == [["mail", "print"]]  # one message of one group
    [body] = world.receiver.bodies()
    first = body["alerts"][0]
    assert first["annotations"]["summary"] in ("mail has 9", "print has 8")
    assert first["generatorURL"].startswith(f"{up.api.url}/graph?g0.expr=queue%3Alength%3Amax+%3E+5")

    up.clear()  # kill -9 of agent, indexer and API
    up = await asyncio.to_thread(world.up, 20)
    await world.receiver.until(lambda: sent(up) >= 2, 180)  # the alerts are there again, from the store
    assert world.told("firing") == [["mail", "print"]]
    assert world.told("resolved") == []

    # A killed Alertmanager loses its alerts and its log of notifications: it is told of the alerts again, and
    # tells of them once more.
    await asyncio.to_thread(world.alertmanager.kill)
    await asyncio.to_thread(world.alertmanager.start)
    await backfill(world, up, now_s)
    await world.receiver.until(lambda: len(world.told("firing")) == 2, 180)
    assert world.told("firing")[1] == ["mail", "print"]

    up.send(["queue.length:2|g|#queue:print", "queue.length:7|g|#queue:fax"])
    await world.receiver.until(
        lambda: (
            any("fax" in names for names in world.told("firing"))
            and any("print" in names for body in world.receiver.bodies() for names in [_resolved(body)])
        ),
        180.0,
    )


async def test_a_resolution_that_no_receiver_took_outlives_kill_9(world: World) -> None:
    """Alertmanager and the webhook are away while an alert is resolved, and Meterhouse is killed then."""
    up = await asyncio.to_thread(world.up)
    up.send(["queue.length:9|g|#queue:mail"])

    def ended() -> bool:
        return up.api.one('count(ALERTS{alertname="Full"})', time.time()) is None

    await world.receiver.until(lambda: bool(world.told("firing") and world.direct.requests), 180)
    await world.receiver.until(
        lambda: (up.api.one("count_over_time(ALERTS[2m])", time.time()) or 0) >= 2, 180.0
    )
    await asyncio.to_thread(world.alertmanager.stop)
    world.direct.fails = lambda _: True
    up.send(["queue.length:2|g|#queue:mail"])
    await world.receiver.until(lambda: bool(world.direct.failed) and ended(), 180)
    up.clear()
    world.direct.fails = lambda _: False
    await asyncio.to_thread(world.alertmanager.start)
    assert world.told("resolved") == []
    up = await asyncio.to_thread(world.up)
    await world.receiver.until(
        lambda: bool(world.told("resolved")) and world.direct.bodies()[-1]["status"] == "resolved", 180.0
    )
    assert world.told("resolved") == [["mail"]]
    assert len(world.told("firing")) == 1
    for body in (world.receiver.bodies()[-1], world.direct.bodies()[-1]):
        assert body["alerts"][0]["annotations"] == {"summary": "mail has 9"}
    assert [body["status"] for body in world.direct.bodies()] == ["firing", "resolved"]


async def backfill(world: World, up: Up, now_s: int) -> None:
    """Record 20 minutes of the past, twice."""
    await world.receiver.until(lambda: up.api.one("count_over_time(old_length[40m])", now_s) == 30, 180)

    def run() -> str:
        done = world.starter(
            "rules", "backfill", "--from", str(now_s - 2_100), "--to", str(now_s - 900), "--group", "past",
            "--url", up.api.url,
        )  # fmt: skip
        assert done.wait() == 0, done.output
        return done.output

    text = await asyncio.to_thread(run)
    assert re.search(r"stored: \d+ samples of 20 ticks; 0 ticks were stored before", text), text
    before = up.api.one("max_over_time(queue:length:past[20m])", now_s - 900)
    assert before is not None
    assert 15 <= before <= 35
    assert list(world.starter.folder.glob("*.state")) == []
    await asyncio.to_thread(run)
    assert up.api.one("max_over_time(queue:length:past[20m])", now_s - 900) == before
    assert up.api.one("count_over_time(queue:length:past[20m])", now_s - 900) == 20


def _resolved(body: dict[str, object]) -> list[str]:
    alerts = body["alerts"]
    assert isinstance(alerts, list)
    return [alert["labels"]["queue"] for alert in alerts if alert["status"] == "resolved"]
