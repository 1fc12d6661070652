"""The subcommand `meterhouse demo`; agent/cli/demo_traffic.py makes the traffic."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from agent.cli.common import DEFAULT_API_URL, address, positive, report_error
from agent.cli.demo_traffic import MAX_REQUESTS, Shop, Truth, send
from agent.cli.program import program
from agent.cli.text_table import number, table

_END: Final = f"at most {MAX_REQUESTS:,} requests"
_SHOW_S: Final = 0.5
_MAX_RATE: Final = 100_000


def demo(argv: Sequence[str]) -> int:
    """Run `meterhouse demo`: send traffic, then print the exact numbers sent."""
    args = _parser().parse_args(argv)
    shop = Shop(args.seed, args.rate)
    host, port = args.address
    if args.json and (problem := _not_writable(args.json)):
        return report_error("demo", f"--json {args.json}: {problem}", 2)
    for_s = f"{args.seconds:g} s of" if args.seconds != math.inf else "until Ctrl-C"
    print(f"sending {for_s} a web shop's traffic to {host}:{port} over UDP", flush=True)
    progress = _Progress(shop, args.seconds)
    try:
        send(shop, args.address, args.seconds, progress)
    except ConnectionRefusedError:
        progress.clear()
        return report_error("demo", f"nothing listens at {host}:{port}; is `meterhouse up` running?", 1)
    except OSError as e:
        progress.clear()
        return report_error("demo", f"{host}:{port}: {e}", 1)
    except KeyboardInterrupt:
        pass  # the totals so far are still right
    progress.clear()
    if not shop.lines:
        return 130
    truth = shop.truth()
    if args.json:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(truth)) + b"\n")
    print(report(truth, _query_command(args.url)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterhouse demo",
        description="Sends a web shop's traffic as StatsD lines over UDP, then prints the exact totals sent.",
    )
    parser.add_argument(
        "--seconds", type=positive, default=math.inf, help=f"how long (default: until Ctrl-C, {_END})"
    )
    parser.add_argument("--address", type=address, default=("127.0.0.1", 8125), metavar="HOST:PORT",
                        help="where StatsD lines go (default 127.0.0.1:8125)")  # fmt: skip
    parser.add_argument("--url", default=DEFAULT_API_URL,
                        help="of the API, in the printed queries (default %(default)s)")  # fmt: skip
    parser.add_argument("--rate", type=_rate, default=200, help="requests a second (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the random numbers (default %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the totals to FILE")
    return parser


def _rate(text: str) -> float:
    rate = positive(text)
    if rate > _MAX_RATE:
        raise argparse.ArgumentTypeError(f"{text!r}: expected at most {_MAX_RATE} requests a second")
    return rate


def _not_writable(path: Path) -> str:
    """Return why the file cannot be written, before anything is sent; empty if it can."""
    try:
        with path.open("ab"):
            return ""
    except OSError as e:
        return e.strerror or str(e)


def _query_command(url: str) -> str:
    """Return the command that asks the API at `url`, to be pasted into a shell."""
    more = f" --url {shlex.quote(url)}" if url != DEFAULT_API_URL else ""
    return f"{program()} query{more}"


class _Progress:
    """Rewrites one line of a terminal while traffic is sent; elsewhere it shows nothing."""

    def __init__(self, shop: Shop, seconds: float) -> None:
        self._shop = shop
        self._seconds = seconds
        self._shown_s = -1.0
        self._terminal = sys.stderr.isatty()

    def __call__(self, done_s: float) -> None:
        """Show the progress, at most twice a second."""
        if not self._terminal or done_s - self._shown_s < _SHOW_S:
            return
        self._shown_s = done_s
        of = f" of {self._seconds:g}" if self._seconds != math.inf else ""
        text = f"{done_s:,.0f}{of} s, {self._shop.lines:,} lines sent; Ctrl-C ends it and prints the totals"
        width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def report(truth: Truth, ask: str) -> str:
    """Format the totals sent as text, with queries for the command `ask` that must return the same."""
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
        "ask for it, from 6 s after the end on:\n" + "\n".join(f"  {ask} '{q}'" for q in asks),
    ))  # fmt: skip


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else ""
