"""Two shims with rules, of which the one that evaluates is killed: every tick is recorded exactly once.

Those that a slow group gives up are told of.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Final

from tests.e2e.product import Api, Process, Starter, get, wait_for
from tests.e2e.services import Services
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

#: One tick a second; each adds 1 to a counter, so a bucket of 10 s gets 10.
RULES: Final = """
groups:
- name: ticks
  interval: 1s
  rules:
  - record: ticked
    expr: vector(1)
    labels: {__type__: counter}
  - alert: Always
    expr: vector(1)
    for: 3s
"""


def _metric(url: str, name: str) -> float:
    lines = get(f"{url}/metrics")[1].decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def _evaluates(url: str) -> bool:
    return _metric(url, 'meterhouse_shim_rule_evaluations_total{outcome="succeeded"}') > 0


def _missed(process: Process) -> int:
    """Return the ticks that a shim gave up, and said so: its group took longer than a second."""
    return sum(int(n) for n in re.findall(r"event=rule_ticks_missed .* ticks=(\d+)", process.output))


def test_every_tick_is_recorded_once_over_the_death_of_a_shim(
    start: Starter, http_dsn: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "r.yml").write_text(RULES)
    _, indexer = Services(start, http_dsn).indexer()

    def shim() -> tuple[Process, str]:
        listen = f"127.0.0.1:{free_port()}"
        process = start("shim", environ={
            "METERHOUSE_SHIM__LISTEN": listen,
            "METERHOUSE_SHIM__DSN": http_dsn,
            "METERHOUSE_SHIM__INDEXERS__URLS": json.dumps([indexer]),
            "METERHOUSE_SHIM__LEASE__REDIS_URL": redis_server.url,
            "METERHOUSE_SHIM__LEASE__TTL_S": "1",
            "METERHOUSE_SHIM__RULES__PATH": str(rules),
            "METERHOUSE_SHIM__RULES__MAX_LATE_TICKS": "1000",
            "METERHOUSE_SHIM__SETTLE_S": "1",
        })  # fmt: skip
        return process, f"http://{listen}"

    shims = [shim(), shim()]
    held = "meterhouse_shim_leases"
    for _, url in shims:
        wait_for(lambda url=url: get(f"{url}/-/ready")[0] == 200, "a shim that is ready", 180)  # type: ignore[misc]
    wait_for(lambda: any(_evaluates(url) for _, url in shims), "a tick", 180)
    first_s = int(time.time()) // 10 * 10 + 10  # whole buckets from here on
    holder, other = sorted(shims, key=lambda one: -_metric(one[1], held))
    api = Api(other[1])

    def recorded(tick_s: float) -> bool:
        return (api.one("max(meterhouse_rule_group_last_tick_seconds)", time.time()) or 0) >= tick_s

    firing = 'ALERTS{alertstate="firing"}'
    wait_for(lambda: recorded(first_s + 1), "a tick of a whole bucket", 180)
    wait_for(lambda: api.one(firing, time.time()), "an alert", 180)
    (since,) = api.instant("ALERTS_FOR_STATE", time.time()).values()
    (alert,) = api.data("alerts")["alerts"]  # of a group that another shim evaluates
    assert (alert["state"], alert["labels"]) == ("firing", {"alertname": "Always"})
    holder[0].kill()
    wait_for(lambda: _evaluates(other[1]), "the other shim evaluates", 180)
    last_s = int(time.time()) // 10 * 10 + 10
    wait_for(lambda: recorded(last_s + 10), "the ticks of the whole time", 180)
    deltas = api.range("sum(increase(ticked[10s]))", first_s + 10, last_s, 10)[()]
    missing = [10.0 - deltas.get(at_s, 0.0) for at_s in range(first_s + 10, last_s + 1, 10)]
    assert min(missing) >= 0, "no tick is recorded twice"
    assert sum(missing) <= sum(_missed(process) for process, _ in shims), (deltas, first_s, last_s)
    assert list(api.instant(firing, time.time()).values()) == [1]
    assert list(api.instant("ALERTS_FOR_STATE", time.time()).values()) == [since]  # it never ended
