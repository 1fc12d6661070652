"""Rules of many orgs in one `meterhouse up`: CPU, delay of ticks, memory; and with hostile rules beside them.

python -m tests.bench.rules_load [--rules 10000] [--groups 500] [--orgs 50] [--interval 60] [--seconds 180]

Each org has ten counters, five gauges and five distributions, sent every 10 s, and an agent that says a
second after each bucket that it has passed it (`--silent`: none does; buckets are complete by time alone).
`--statements` adds quantiles, and totals of counters. `--hostile N` alternates N times between phases without
and with an org of hostile rules: over 20,000 series, that fail, and that take all their time. The delays of
its own groups are told apart. *Delay* is from a tick's own time until it is stored, *lag* from the time at
which its buckets are complete.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from agent.wire import heartbeat
from tests.e2e.product import ROOT, Up, get

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


def _write_hostile(directory: Path, args: argparse.Namespace) -> None:
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


def _send(up: Up, args: argparse.Namespace, until_s: float, epoch: int) -> None:
    """Send data every 10 s until a time, and a second into each bucket that the one before is over."""
    choose = random.Random(7)
    while time.time() < until_s:
        now_s = int(time.time())
        for first in range(1, args.orgs + 1, 25):
            orgs = range(first, min(first + 25, args.orgs + 1))
            messages = [m for org in orgs for m in _messages(org, now_s, choose)]
            _post(f"{up.indexer}/v1/messages", messages)
        if not args.silent:
            _beat(up, args.orgs, now_s // 10 * 10_000, epoch)
        time.sleep(max(0.0, min(10 - (time.time() - 1) % 10, until_s - time.time())))


def _beat(up: Up, orgs: int, flushed_ms: int, epoch: int) -> None:
    for org in range(1, orgs + 1):
        beat = heartbeat.Heartbeat(
            agent="bench", epoch=epoch, org_id=org, project_id=1, flushed_until_ms=flushed_ms,
            sent_ms=int(time.time() * 1000),
        )  # fmt: skip
        headers = {"Content-Type": heartbeat.CONTENT_TYPE}
        request = urllib.request.Request(f"{up.indexer}{heartbeat.PATH}", heartbeat.encode(beat), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()


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


class Tick(NamedTuple):
    """One evaluated tick of the product's log."""

    org: int
    ended_s: float
    delay_s: float
    lag_s: float
    seconds: float
    write_s: float


def _ticks(up: Up) -> list[Tick]:
    told = r"stored_s=(\S+) tick=\d+ delay_s=(\S+) lag_s=(\S+) seconds=(\S+)"
    pattern = rf"(?m)^(\S+) event=rule_tick group=rules/(\d+)\D.* {told}$"
    return [
        Tick(int(org), float(ended_s), float(delay_s), float(lag_s), float(seconds), float(write_s))
        for ended_s, org, write_s, delay_s, lag_s, seconds in re.findall(pattern, up.output)
    ]


def _quantiles(ticks: Sequence[Tick]) -> str:
    if not ticks:
        return "no ticks"
    told = [f"{len(ticks)} ticks"]
    for name in ("delay_s", "lag_s", "seconds", "write_s"):
        values = [getattr(tick, name) for tick in ticks]
        p50, p99 = np.quantile(values, (0.5, 0.99))
        short = {"delay_s": "delay", "lag_s": "lag", "seconds": "took", "write_s": "write"}[name]
        told.append(f"{short} p50 {p50:.2f} p99 {p99:.2f} max {max(values):.2f} s")
    return ", ".join(told)


class Phase:
    """The product while it is measured."""

    def __init__(self, up: Up, name: str) -> None:
        self.up, self.name = up, name
        self.began_s, self.before, self.cpu_s = time.time(), Metrics(up), _cpu_s(up.pid)

    def report(self, args: argparse.Namespace) -> None:
        after, seconds = Metrics(self.up), time.time() - self.began_s
        outcome = "meterhouse_shim_rule_ticks_total"
        found = {
            o: after.since(self.before, f'{outcome}{{outcome="{o}"}}')
            for o in ("stored", "known", "missed", "delayed", "refused")
        }
        evaluations = "meterhouse_shim_rule_evaluations_total"
        rules, failed = (
            after.since(self.before, f'{evaluations}{{outcome="{o}"}}') for o in ("succeeded", "failed")
        )
        print(
            f"{self.name}: {(_cpu_s(self.up.pid) - self.cpu_s) / seconds:.2f} cores,"
            f" {rules / seconds:.0f} evaluations/s, {failed:.0f} failed, {_rss_mib(self.up.pid)} MiB,"
            f" ticks {found}, load {os.getloadavg()[0]:.1f}"
        )
        ticks = [tick for tick in _ticks(self.up) if tick.ended_s >= self.began_s]
        print(f"  others: {_quantiles([tick for tick in ticks if tick.org <= args.orgs])}")
        if any(tick.org > args.orgs for tick in ticks):
            print(f"  hostile: {_quantiles([tick for tick in ticks if tick.org > args.orgs])}")
        sys.stdout.flush()


def _run(up: Up, rules: Path, args: argparse.Namespace) -> None:
    phases = ["without hostile rules", "with hostile rules"] * args.hostile or ["alone"]
    for phase in phases:
        hostile = phase == "with hostile rules"
        if hostile:
            for first in range(0, 20_000, 5_000):
                _post(f"{up.indexer}/v1/messages", _wide(args.orgs + 1, int(time.time()), first))
            _write_hostile(rules, args)
        if args.hostile:
            time.sleep(args.settle)
        measured = Phase(up, phase)
        time.sleep(args.seconds)
        measured.report(args)
        if hostile:
            shutil.rmtree(rules / str(args.orgs + 1))


#: `meterhouse` with a line for each tick in its log.
_PROGRAM: Final = f"""
import logging, sys
sys.path.insert(0, {str(ROOT)!r})
log = logging.getLogger("shim.rules.ticks")
log.setLevel(logging.DEBUG)
log.propagate = False
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("%(created).3f %(message)s"))
log.addHandler(handler)
from meterhouse import main
sys.exit(main())
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (
        *(("rules", 10_000), ("groups", 500), ("orgs", 50), ("interval", 60), ("seconds", 180)),
        *(("warm", 75), ("settle", 20), ("hostile", 0)),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name in ("statements", "silent"):
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules"
        rules.mkdir()
        _write_rules(rules, args)
        up = Up(Path(folder), program=(sys.executable, "-c", _PROGRAM), environ={
            "METERHOUSE_SHIM__TENANCY__MODE": "header", "METERHOUSE_SHIM__RULES__PATH": str(rules),
            "METERHOUSE_INDEXER__JOURNAL__PATH": str(Path(folder) / "journal"),
        })  # fmt: skip
        try:
            up.ready()
            total_s = args.warm + max(1, 2 * args.hostile) * (args.seconds + args.settle + 60)
            sender = (up, args, time.time() + total_s, time.time_ns())
            threading.Thread(target=_send, args=sender, daemon=True).start()
            time.sleep(args.warm)
            print(
                f"{args.rules} rules, {args.groups} groups, {args.orgs} orgs, {args.interval} s,"
                f" {'with' if args.statements else 'without'} statements,"
                f" buckets complete {'by time' if args.silent else 'by agents'}"
            )
            _run(up, rules, args)
        finally:
            up.clear()


if __name__ == "__main__":
    main()
