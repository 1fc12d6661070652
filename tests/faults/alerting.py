"""Kills shims, the indexer and Alertmanager in turn, and counts the notifications of each alert.

python -m tests.faults.alerting [--rounds 6]

Agent, indexer, two shims (leases in Redis), ClickHouse over HTTP and Debian's Alertmanager are processes of
their own. In each round an alert fires, one process is killed with -9 and started again, and meanwhile
another alert fires. Each alert is a group of its own in Alertmanager, so each has one message when it fires,
and one when it is resolved. A killed Alertmanager forgets which messages it sent: it sends those of firing
alerts again.

The shims' own webhook answers every message of a second tenant with 500: the first tenant's alerts reach it
all the same. In a last round Alertmanager and the webhook are away while an alert is resolved, and both shims
are killed then: each is told once they are back.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.e2e.product import Process, Starter, get, send_tcp, wait_for
from tests.e2e.services import start_agent
from tests.support import clickhouse_http
from tests.support.alertmanager import AlertmanagerServer
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.webhook_receiver import WebhookReceiver

VICTIMS: Final = ("shim a", "indexer", "alertmanager", "shim b")
_DEADLINE_S: Final = 180.0
#: The queue of the last round, and the time in which the end of its alert is stored.
OUTAGE: Final = "outage"
_STORED_S: Final = 5.0
RULES: Final = """
groups:
- name: queues
  interval: 2s
  rules: [{alert: Full, expr: "queue_length > 5"}]
"""
#: The rules of the tenant whose messages the webhook refuses for ever.
BAD_RULES: Final = """
groups:
- name: bad
  interval: 2s
  rules: [{alert: Bad, expr: "vector(1)", labels: {queue: bad}}]
"""
SHIMS: Final = ("shim a", "shim b")


class AlertingWorld:
    """All processes, the values of the queues, and the messages that came."""

    def __init__(
        self, folder: Path, receiver: WebhookReceiver, direct: WebhookReceiver, dsn: str, redis_url: str
    ) -> None:
        self.receiver = receiver
        self.direct = direct
        self.away = False
        direct.fails = lambda body: self.away or body["commonLabels"]["org_id"] == "2"
        self.start = Starter(folder)
        self.alertmanager = AlertmanagerServer(folder, f"{receiver.url}/hook", group_by="queue")
        self.values: dict[str, int] = {}
        self.ports = {name: free_port() for name in ("indexer", "shim a", "shim b")}
        self.processes: dict[str, Process] = {}
        self.statsd = 0
        for org_id, rules in (("1", RULES), ("2", BAD_RULES)):
            place = folder / "rules" / org_id / "1"
            place.mkdir(parents=True)
            (place / "rules.yml").write_text(rules)
        indexer = f"http://127.0.0.1:{self.ports['indexer']}"
        self.environ = {
            "METERHOUSE_INDEXER__LISTEN": f"127.0.0.1:{self.ports['indexer']}",
            "METERHOUSE_INDEXER__DSN": dsn,
            "METERHOUSE_INDEXER__REDIS_URL": redis_url,
            "METERHOUSE_SHIM__DSN": dsn,
            "METERHOUSE_SHIM__INDEXERS__URLS": json.dumps([indexer]),
            "METERHOUSE_SHIM__RULES__PATH": str(folder / "rules"),
            "METERHOUSE_SHIM__TENANCY__MODE": "header",
            "METERHOUSE_SHIM__ALERT_WEBHOOK__URL": f"{direct.url}/direct",
            "METERHOUSE_SHIM__LEASE__REDIS_URL": redis_url,
            "METERHOUSE_SHIM__LEASE__TTL_S": "3",
            "METERHOUSE_SHIM__ALERTMANAGER__URLS": json.dumps([self.alertmanager.url]),
            "METERHOUSE_SHIM__ALERTMANAGER__RESEND_S": "15",
        }

    def begin(self, name: str) -> None:
        """Start a process, and wait until it is ready."""
        if name == "alertmanager":
            self.alertmanager.start()
            return
        port = self.ports[name]
        environ = {**self.environ, "METERHOUSE_SHIM__LISTEN": f"127.0.0.1:{port}"}
        self.processes[name] = self.start(name.split(" ")[0], environ=environ)
        path = "readyz" if name == "indexer" else "-/ready"
        wait_for(lambda: get(f"http://127.0.0.1:{port}/{path}")[0] == 200, name, _DEADLINE_S)

    def kill(self, name: str) -> None:
        """End a process as kill -9 does."""
        if name == "alertmanager":
            self.alertmanager.kill()
        else:
            self.processes[name].kill()

    def begin_all(self) -> None:
        """Start everything in order."""
        for name in ("indexer", "shim a", "shim b", "alertmanager"):
            self.begin(name)
        _, self.statsd = start_agent(self.start, f"http://127.0.0.1:{self.ports['indexer']}", "one")

    def send(self) -> None:
        """Send the values of all queues."""
        send_tcp(
            ("127.0.0.1", self.statsd), [f"queue.length:{v}|g|#queue:{q}" for q, v in self.values.items()]
        )

    def told(self, status: str, receiver: WebhookReceiver | None = None) -> Counter[str]:
        """Return how often each queue was in a message of this status, of Alertmanager if not said."""
        return Counter(
            alert["labels"]["queue"]
            for body in (receiver or self.receiver).bodies()
            for alert in body["alerts"]
            if alert["status"] == status
        )

    async def until(self, is_so: Callable[[], bool]) -> float:
        """Wait for a condition; return the seconds it took."""
        began_s = time.monotonic()
        await self.receiver.until(is_so, _DEADLINE_S)
        return time.monotonic() - began_s


async def run_round(world: AlertingWorld, number: int) -> str:
    """Fire, kill, fire, start, resolve; return a line of times."""
    victim = VICTIMS[number % len(VICTIMS)]
    before, during = f"before-{number}", f"during-{number}"
    world.values[before] = 9
    fired_s = await world.until(lambda: world.told("firing")[before] > 0)
    await asyncio.to_thread(world.kill, victim)
    world.values[during] = 9
    again = world.told("firing")
    await asyncio.to_thread(world.begin, victim)
    during_s = await world.until(lambda: world.told("firing")[during] > 0)
    if victim == "alertmanager":  # it has to know of an alert to tell that it is resolved
        await world.until(lambda: world.told("firing")[before] > again[before])
    world.values[before] = world.values[during] = 1
    resolved_s = await world.until(
        lambda: world.told("resolved")[before] > 0 and world.told("resolved")[during] > 0
    )
    return (
        f"{victim} killed: told after {fired_s:.1f} s, {during_s:.1f} s after the start, {resolved_s:.1f} s"
    )


async def run_outage(world: AlertingWorld) -> str:
    """Resolve an alert while its receivers are away, and kill both shims before they are back."""
    world.values[OUTAGE] = 9
    await world.until(
        lambda: world.told("firing")[OUTAGE] > 0 and world.told("firing", world.direct)[OUTAGE] > 0
    )
    await asyncio.to_thread(world.alertmanager.stop)
    world.away = True
    tries = len(world.direct.failed)
    world.values[OUTAGE] = 1
    await world.until(lambda: any(_resolves(body) for body in world.direct.failed[tries:]))
    await asyncio.sleep(_STORED_S)
    for name in SHIMS:
        world.kill(name)
    world.away = False
    for name in ("alertmanager", *SHIMS):
        await asyncio.to_thread(world.begin, name)
    told_s = await world.until(
        lambda: world.told("resolved")[OUTAGE] > 0 and world.told("resolved", world.direct)[OUTAGE] > 0
    )
    return f"receivers away, both shims killed: resolved {told_s:.1f} s after the start"


def _resolves(body: dict[str, Any]) -> bool:
    return any(
        alert["status"] == "resolved" and alert["labels"]["queue"] == OUTAGE for alert in body["alerts"]
    )


def violations(world: AlertingWorld, rounds: int) -> list[str]:
    """Return the alerts that were told of too often, or never."""
    found = [
        f"{OUTAGE}: {count} messages {status}, expected 1"
        for status in ("firing", "resolved")
        if (count := world.told(status)[OUTAGE]) != 1
    ]
    if world.told("firing", world.direct)["bad"] or len(world.direct.failed) < 2 * rounds:
        found.append(f"the bad tenant: {len(world.direct.failed)} tries, expected more, and none taken")
    for number in range(rounds):
        for when in ("before", "during"):
            queue, killed = f"{when}-{number}", VICTIMS[number % len(VICTIMS)] == "alertmanager"
            most = 2 if killed and when == "before" else 1
            for status, max_ in (("firing", most), ("resolved", 1)):
                count = world.told(status)[queue]
                if not 1 <= count <= max_:
                    found.append(f"{queue}: {count} messages {status}, expected 1 to {max_}")
                if not world.told(status, world.direct)[queue]:
                    found.append(f"{queue}: no message {status} to the webhook, expected 1 or more")
    return found


async def run(rounds: int, folder: Path) -> int:
    """Run all rounds; return the exit code."""
    receiver, direct, redis = WebhookReceiver(), WebhookReceiver(), RedisServer(folder)
    await receiver.start()
    await direct.start()
    redis.start()
    with clickhouse_http.running(folder / "clickhouse") as port:
        world = AlertingWorld(folder, receiver, direct, f"http://127.0.0.1:{port}/default", redis.url)
        sending: asyncio.Task[None] | None = None
        try:
            await asyncio.to_thread(world.begin_all)
            sending = asyncio.create_task(_send_again(world))
            for number in range(rounds):
                print(f"round {number + 1}: {await run_round(world, number)}", flush=True)
            print(f"outage: {await run_outage(world)}", flush=True)
            found = violations(world, rounds)
            print("\n".join(found) or f"{2 * rounds + 1} alerts: none lost, none doubled")
            print(f"{len(direct.failed)} tries of the webhook failed")
            return 1 if found else 0
        finally:
            if sending is not None:
                sending.cancel()
            await asyncio.to_thread(world.start.clear)
            await asyncio.to_thread(world.alertmanager.kill)
            redis.stop()
            await receiver.stop()
            await direct.stop()


async def _send_again(world: AlertingWorld) -> None:
    while True:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(world.send)
        await asyncio.sleep(2)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.alerting", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    with tempfile.TemporaryDirectory(prefix="alerting-") as folder:
        return asyncio.run(run(parser.parse_args().rounds, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
