"""The subcommands `meterhouse agent` and `meterhouse demo`."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent import service
from agent.cli import complain, config_option, read_settings
from agent.config import ConfigError
from agent.demo import Shop, Truth, send
from agent.loop import Loop
from agent.settings import AgentSettings
from agent.table import number, table


class AgentFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings file as the agent sees it: the sections of others are theirs to check."""

    agent: AgentSettings = AgentSettings()
    indexer: dict[str, Any] = {}
    shim: dict[str, Any] = {}


def agent(argv: Sequence[str]) -> int:
    """`meterhouse agent`: runs until SIGTERM or SIGINT; 0 when everything taken was also sent."""
    parser = argparse.ArgumentParser(
        prog="meterhouse agent",
        description="Takes StatsD lines, aggregates them, forwards frames to an indexer.",
    )
    config_option(parser)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)  # a socket; shim/child.py says what for
    args = parser.parse_args(argv)
    try:
        settings = read_settings(AgentFile, args.config).agent
    except ConfigError as e:
        return complain("agent", e, 2)
    try:
        return service.run(settings) if args.parent is None else _run_as_child(settings, args.parent)
    except ConfigError as e:  # the mapping file
        return complain("agent", e, 2)
    except OSError as e:
        return complain("agent", e, 1)


def _run_as_child(settings: AgentSettings, parent: int) -> int:
    """Runs, tells the parent through its socket where we listen, and stops when it is gone."""
    with socket.socket(fileno=parent) as channel, Loop() as loop:

        def gone() -> None:
            if not channel.recv(1):
                loop.remove_reader(channel)
                loop.stop()

        loop.add_reader(channel, gone)
        return service.run(
            settings, ready=lambda at: channel.sendall(msgspec.json.encode(at) + b"\n"), loop=loop
        )


def address(text: str, lowest: int = 1) -> tuple[str, int]:
    """`HOST:PORT` or `[IPV6]:PORT`, for argparse; `lowest` 0 where a free port may be asked for."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not lowest <= int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def demo(argv: Sequence[str]) -> int:
    """`meterhouse demo`: sends traffic, then says exactly what it was."""
    parser = argparse.ArgumentParser(
        prog="meterhouse demo",
        description="Sends a web shop's traffic as StatsD lines over UDP, then prints exactly what was sent.",
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long (default %(default)s)")
    parser.add_argument("--address", type=address, default=("127.0.0.1", 8125), metavar="HOST:PORT",
                        help="where StatsD lines go (default 127.0.0.1:8125)")  # fmt: skip
    parser.add_argument("--rate", type=float, default=200, help="requests a second (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the truth there, too")
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
        return complain("demo", f"nothing listens at {host}:{port}; is `meterhouse up` running?", 1)
    except OSError as e:
        return complain("demo", f"{host}:{port}: {e}", 1)
    except KeyboardInterrupt:
        pass  # what was sent until now is still the truth
    if terminal:
        print("\r" + " " * 24 + "\r", end="", file=sys.stderr)
    truth = shop.truth()
    if args.json:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(truth)) + b"\n")
    print(report(truth))
    return 0


def report(truth: Truth) -> str:
    """What was sent, as text, with the queries that must give the same."""
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
