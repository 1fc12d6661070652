"""The subcommand `meterhouse demo`; agent/cli/demo_traffic.py makes the traffic."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from agent.cli.common import address, report_error
from agent.cli.demo_traffic import Shop, Truth, send
from agent.cli.text_table import number, table


def demo(argv: Sequence[str]) -> int:
    """Run `meterhouse demo`: send traffic, then print the exact numbers sent."""
    parser = argparse.ArgumentParser(
        prog="meterhouse demo",
        description="Sends a web shop's traffic as StatsD lines over UDP, then prints the exact totals sent.",
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long (default %(default)s)")
    parser.add_argument("--address", type=address, default=("127.0.0.1", 8125), metavar="HOST:PORT",
                        help="where StatsD lines go (default 127.0.0.1:8125)")  # fmt: skip
    parser.add_argument("--rate", type=float, default=200, help="requests a second (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the random numbers (default %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the totals to FILE")
    args = parser.parse_args(argv)
    shop = Shop(args.seed, args.rate)
    host, port = args.address
    terminal = sys.stderr.isatty()
    print(f"sending {args.seconds:g} s of a web shop's traffic to {host}:{port} over UDP", flush=True)

    def progress(done: float) -> None:
        if terminal:
            print(f"\r{done:6.1f} of {args.seconds:g} s ", end="", file=sys.stderr, flush=True)

    try:
        send(shop, args.address, args.seconds, progress)
    except ConnectionRefusedError:
        return report_error("demo", f"nothing listens at {host}:{port}; is `meterhouse up` running?", 1)
    except OSError as e:
        return report_error("demo", f"{host}:{port}: {e}", 1)
    except KeyboardInterrupt:
        pass  # the totals so far are still right
    if terminal:
        print("\r" + " " * 24 + "\r", end="", file=sys.stderr)
    truth = shop.truth()
    if args.json:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(truth)) + b"\n")
    print(report(truth))
    return 0


def report(truth: Truth) -> str:
    """Format the totals sent as text, with queries that must return the same."""
    window = truth.end - truth.start
    counters = [
        [f"{c.name}{_labels(c.labels)}", number(c.total), number(c.total / window)] for c in truth.counters
    ]
    distributions = [
        [f"{d.name}{_labels(d.labels)}", *map(number, (d.count, d.sum, d.min, d.p50, d.p99, d.max))]
        for d in truth.distributions
    ]
    sets = [[f"{s.name}{_labels(s.labels)}", number(s.distinct)] for s in truth.sets]
    gauges = [[f"{g.name}{_labels(g.labels)}", number(g.last), number(g.at)] for g in truth.gauges]
    at = f"[{window}s] @ {truth.end}"
    asks = (
        f"sum by (route, status) (increase(shop_requests{at}))",
        f"sum by (route) (rate(shop_requests{at}))",
        f"histogram_quantile(0.99, sum by (route) (increase(shop_request_duration{at})))",
        f"sum by (region) (sum_over_time(shop_users{at}))",
        f"sum(sum_over_time(shop_users{at}))",
        f"last_over_time(shop_memory_bytes{at})",
    )
    return "\n\n".join((
        f"sent {truth.lines} lines; all in the buckets of [{truth.start}, {truth.end}), {window} s",
        table(("counter", "total", "a second"), counters, right=(1, 2)),
        table(("distribution", "count", "sum", "min", "p50", "p99", "max"), distributions, right=range(1, 7)),
        table(("set", "distinct"), sets, right=(1,)),
        table(("gauge", "last", "at"), gauges, right=(1, 2)),
        "ask for it, some 6 s after the end:\n" + "\n".join(f"  meterhouse query '{q}'" for q in asks),
    ))  # fmt: skip


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else ""
