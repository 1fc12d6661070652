"""Rules of many orgs in one `meterhouse up`: CPU, delay of ticks, memory; and with hostile rules beside them.

python -m tests.bench.rules_load [--rules 10000] [--groups 500] [--orgs 50] [--interval 60] [--seconds 180]

Each org has ten counters, five gauges and five distributions, sent every 10 s. `--statements` adds rules that
are answered by statements, not from memory: quantiles, and totals of counters. `--hostile` adds an org with
rules over 20,000 series, rules that fail, and rules that take all their time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.e2e.product import Starter, Up, get

#: Expressions of recording rules and alerts; a rule's number picks one, and gives it numbers of its own.
RECORDED: Final = (
    "sum by (route) (rate(requests[5m]))",
    "sum(increase(requests{{code='500'}}[{minutes}m]))",
    "avg by (host) (load)",
    "sum(rate(requests{{code='500'}}[5m])) / sum(rate(requests[5m]))",
    "max_over_time(load[{minutes}m])",
)
ALERTED: Final = (
    "sum by (route) (rate(requests{{code='500'}}[5m])) > {threshold}",
    "load > {threshold}",
    "absent(rate(requests{{route='r{n}'}}[5m]))",
)
#: Rules whose data is not kept in memory.
BY_STATEMENT: Final = (
    "histogram_quantile(0.{quantile}, sum(rate(latency[5m])))",
    "absent(requests{{route='r{n}'}})",
)
#: Rules of the hostile org.
HOSTILE: Final = (
    "sum by (id) (rate(wide[1h]))",
    "wide * on (id) wide",
    "count_over_time(rate(wide[5m])[1h:10s])",
    "requests * on (code) requests",
)


def _group(group: int, rules: int, interval_s: int, recorded: Sequence[str]) -> dict[str, Any]:
    made: list[dict[str, Any]] = []
    for n in range(rules):
        number = group * rules + n
        fill = {"minutes": 1 + number % 10, "threshold": 1 + number % 90}
        fill |= {"quantile": 50 + number % 49, "n": number % 7}
        if n % 3 == 2:
            expr = ALERTED[number % len(ALERTED)].format(**fill)
            notes = {"text": "{{ $labels.route }} has {{ $value | humanize }}"}
            labels = {"group": str(group)}
            alert = {"alert": f"A{n}", "expr": expr, "for": "2m", "labels": labels, "annotations": notes}
            made.append(alert)
        else:
            expr = recorded[number % len(recorded)].format(**fill)
            made.append({"record": f"recorded:g{group}:r{n}", "expr": expr})
    return {"name": f"g{group}", "interval": f"{interval_s}s", "rules": made}


def _write_rules(directory: Path, args: argparse.Namespace) -> None:
    per_group = args.rules // args.groups
    for org in range(1, args.orgs + 1):
        place = directory / str(org) / "1"
        place.mkdir(parents=True)
        recorded = (*RECORDED, *BY_STATEMENT) if args.statements else RECORDED
        groups = [_group(g, per_group, args.interval, recorded) for g in range(args.groups // args.orgs)]
        (place / "rules.yml").write_text(json.dumps({"groups": groups}))
    if args.hostile:
        place = directory / str(args.orgs + 1) / "1"
        place.mkdir(parents=True)
        groups = [
            {"name": f"h{n}", "interval": f"{args.interval}s",
             "rules": [{"record": f"hostile:h{n}:r{i}", "expr": expr} for i, expr in enumerate(HOSTILE * 5)]}
            for n in range(3)
        ]  # fmt: skip
        (place / "rules.yml").write_text(json.dumps({"groups": groups}))


def _messages(org: int, now_s: int, choose: random.Random) -> list[dict[str, Any]]:
    head = {"org_id": org, "project_id": 1, "timestamp": now_s}
    out = []
    for route in range(5):
        tags = {"route": f"r{route}"}
        for code in ("200", "500"):
            value = choose.randrange(1, 100)
            out.append(
                {**head, "type": "c", "name": "requests", "tags": {**tags, "code": code}, "value": value}
            )
        out.append({**head, "type": "g", "name": "load", "tags": {"host": f"h{route}"},
                    "value": choose.randrange(100)})  # fmt: skip
        values = [choose.random() for _ in range(20)]
        out.append({**head, "type": "d", "name": "latency", "tags": tags, "value": values})
    return out


def _wide(org: int, now_s: int, first: int) -> list[dict[str, Any]]:
    head = {"org_id": org, "project_id": 1, "timestamp": now_s, "type": "c", "name": "wide", "value": 1}
    return [{**head, "tags": {"id": str(first + n)}} for n in range(5_000)]


def _post(url: str, messages: list[dict[str, Any]]) -> None:
    body, headers = json.dumps(messages).encode(), {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
        answer.read()


def _feed(up: Up, args: argparse.Namespace, until_s: float) -> None:
    """Send data every 10 s until a time."""
    choose = random.Random(7)
    while time.time() < until_s:
        now_s = int(time.time())
        for first in range(1, args.orgs + 1, 25):
            orgs = range(first, min(first + 25, args.orgs + 1))
            messages = [m for org in orgs for m in _messages(org, now_s, choose)]
            _post(f"{up.indexer}/v1/messages", messages)
        time.sleep(max(0.0, min(10 - time.time() % 10, until_s - time.time())))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found is not None
    return int(found[1]) // 1024


class Metrics:
    """The metrics of the shim at one time."""

    def __init__(self, up: Up) -> None:
        self.values: dict[str, float] = {}
        for line in get(f"{up.api.url}/metrics", 60)[1].decode().splitlines():
            if line.startswith("meterhouse_shim_rule"):
                name, _, value = line.rpartition(" ")
                self.values[name] = float(value)

    def since(self, before: Metrics, name: str) -> float:
        return self.values.get(name, 0.0) - before.values.get(name, 0.0)

    def quantile(self, before: Metrics, name: str, q: float) -> str:
        """Return the upper bound of the bucket that holds the quantile."""
        total = self.since(before, f"{name}_count")
        for line in self.values:
            found = re.fullmatch(rf'{name}_bucket{{le="(.*)"}}', line)
            if found and self.since(before, line) >= q * total:
                return found[1]
        return "?"


def _report(args: argparse.Namespace, before: Metrics, after: Metrics, cpu_s: float, rss: int) -> None:
    outcome = "meterhouse_shim_rule_ticks_total"
    ticks = {o: after.since(before, f'{outcome}{{outcome="{o}"}}') for o in ("stored", "missed", "delayed")}
    delay = "meterhouse_shim_rule_tick_delay_seconds"
    count = after.since(before, f"{delay}_count") or 1
    rules = after.since(before, 'meterhouse_shim_rule_evaluations_total{outcome="succeeded"}')
    failed = after.since(before, 'meterhouse_shim_rule_evaluations_total{outcome="failed"}')
    print(
        f"{args.rules} rules, {args.groups} groups, {args.orgs} orgs, {args.interval} s,"
        f" {'with' if args.statements else 'without'} statements,"
        f" {'with' if args.hostile else 'without'} hostile rules: {cpu_s / args.seconds:.2f} cores,"
        f" {rules / args.seconds:.0f} evaluations/s, {failed:.0f} failed, {rss} MiB"
    )
    print(
        f"  ticks {ticks}; delay mean {after.since(before, f'{delay}_sum') / count:.2f} s,"
        f" p50 <= {after.quantile(before, delay, 0.5)}, p99 <= {after.quantile(before, delay, 0.99)} s;"
        f" group p50 <= {after.quantile(before, 'meterhouse_shim_rule_group_seconds', 0.5)} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (
        ("rules", 10_000),
        ("groups", 500),
        ("orgs", 50),
        ("interval", 60),
        ("seconds", 180),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--warm", type=int, default=75)
    for name in ("hostile", "statements"):
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules"
        rules.mkdir()
        _write_rules(rules, args)
        start = Starter(Path(folder))
        try:
            up = start.up(environ={
                "METERHOUSE_SHIM__TENANCY__MODE": "header", "METERHOUSE_SHIM__RULES__PATH": str(rules),
                "METERHOUSE_INDEXER__JOURNAL__PATH": str(Path(folder) / "journal"),
            })  # fmt: skip
            if args.hostile:
                for first in range(0, 20_000, 5_000):
                    _post(f"{up.indexer}/v1/messages", _wide(args.orgs + 1, int(time.time()), first))
            _feed(up, args, time.time() + args.warm)
            before, cpu_s = Metrics(up), _cpu_s(up.pid)
            _feed(up, args, time.time() + args.seconds)
            after = Metrics(up)
            _report(args, before, after, _cpu_s(up.pid) - cpu_s, _rss_mib(up.pid))
        finally:
            start.clear()


if __name__ == "__main__":
    main()
