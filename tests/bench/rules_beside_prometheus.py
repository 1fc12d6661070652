"""Debian's Prometheus and Meterhouse side by side: one rule file, the same gauges, and the alerts of both.

python -m tests.bench.rules_beside_prometheus [--seconds 150]

Prometheus scrapes the gauges every second, Meterhouse gets them as lines every second. It prints each alert's
labels, annotations, and when it was pending, firing and gone on both sides. Times differ by the phase of a
group, and in Meterhouse by the bucket of 10 s that is waited for.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from tests.e2e.product import Starter, Up, get, wait_for
from tests.support.ports import free_port

RULES: Final = """
groups:
- name: levels
  interval: 5s
  rules:
  - record: zone:level:max
    expr: max by (zone) (level)
  - alert: High
    expr: level > 50
    for: 15s
    labels: {severity: page, zone_of: "{{ $labels.zone }}"}
    annotations: {text: "{{ $labels.zone }} at {{ $value | humanize }}, {{ printf \\"%.1f\\" $value }}"}
  - alert: HighRecorded
    expr: zone:level:max > 70
    keep_firing_for: 20s
    annotations: {text: "{{ with query \\"count(level)\\" }}{{ . | first | value }} zones{{ end }}"}
  - alert: Absent
    expr: absent(level{zone="c"})
    for: 10s
"""
SCRAPE: Final = """
global: {{scrape_interval: 1s, evaluation_interval: 5s}}
rule_files: [{rules}]
scrape_configs:
- job_name: levels
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
  metric_relabel_configs: [{{regex: "job|instance", action: labeldrop}}]
"""
#: Seconds of one period, and of its high part; that of zone b begins 20 s earlier.
PERIOD_S: Final = 120
HIGH_S: Final = 40
#: When in a period all zones have been low for a while.
QUIET_S: Final = 85
Transitions = dict[str, list[tuple[str, int]]]


def levels(second: int) -> dict[str, int]:
    """Return the value of each zone."""
    return {zone: 80 if (second + shift) % PERIOD_S < HIGH_S else 20 for zone, shift in (("a", 0), ("b", 20))}


@contextmanager
def exposed() -> Iterator[int]:
    """Serve the gauges of now; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = levels(int(time.time()))
            body = "".join(f'level{{zone="{zone}"}} {value}\n' for zone, value in found.items()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@contextmanager
def prometheus(folder: Path, rules: Path, port: int) -> Iterator[str]:
    """Run Debian's Prometheus; yield its URL."""
    (folder / "prometheus.yml").write_text(SCRAPE.format(rules=rules, port=port))
    listen = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        child = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address={listen}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for(lambda: get(f"http://{listen}/-/ready")[0] == 200, "Prometheus is ready", 60)
        yield f"http://{listen}"
    finally:
        child.kill()
        child.wait()


def _alerts(url: str) -> dict[str, str]:
    """Return the state of each alert, by its labels and annotations."""
    _, body = get(f"{url}/api/v1/alerts")
    found = json.loads(body)["data"]["alerts"] if body else []
    return {json.dumps([one["labels"], one["annotations"]], sort_keys=True): one["state"] for one in found}


def _note(seen: Transitions, now: dict[str, str], at_s: int) -> None:
    for alert in seen.keys() | now.keys():
        state = now.get(alert, "gone")
        if alert in now or alert in seen:
            states = seen.setdefault(alert, [])
            if not states or states[-1][0] != state:
                states.append((state, at_s))


def watched(up: Up, prometheus_url: str, seconds: int) -> tuple[Transitions, Transitions]:
    """Feed the lines, and return the transitions of ours and of Prometheus."""
    ours, theirs = Transitions(), Transitions()
    wait_for(lambda: int(time.time()) % PERIOD_S == QUIET_S, "all zones are low", PERIOD_S + 10)
    began_s = time.time()
    while (at_s := int(time.time() - began_s)) < seconds:
        up.send([f"level:{value}|g|#zone:{zone}" for zone, value in levels(int(time.time())).items()])
        _note(ours, _alerts(up.api.url), at_s)
        _note(theirs, _alerts(prometheus_url), at_s)
        time.sleep(max(0.0, began_s + at_s + 1 - time.time()))
    return ours, theirs


def report(ours: Transitions, theirs: Transitions) -> int:
    """Print both; return how many alerts have other labels, annotations or states."""
    differ = 0
    for alert in sorted(ours.keys() | theirs.keys()):
        states = [[state for state, _ in one.get(alert, [])] for one in (ours, theirs)]
        same = _within(states[0], states[1]) or _within(states[1], states[0])
        differ += not same
        print(f"{'same' if same else 'DIFFERENT'}: {alert}")
        for name, one in (("meterhouse", ours), ("prometheus", theirs)):
            print(f"  {name}: " + ", ".join(f"{state} {at_s} s" for state, at_s in one.get(alert, [])))
    return differ


def _within(short: list[str], long: list[str]) -> bool:
    """Return whether states are those of the other side, but for one at the begin or end."""
    return 0 < len(short) >= len(long) - 1 and short in (long, long[1:], long[:-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=150)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, exposed() as port:
        folder = Path(name)
        rules = folder / "rules.yml"
        rules.write_text(RULES)
        start = Starter(folder)
        try:
            up = start.up(environ={"METERHOUSE_SHIM__RULES__PATH": str(rules)})
            with prometheus(folder, rules, port) as url:
                differ = report(*watched(up, url, args.seconds))
        finally:
            start.clear()
    print(f"{differ} alerts differ in labels, annotations or the order of their states")


if __name__ == "__main__":
    main()
