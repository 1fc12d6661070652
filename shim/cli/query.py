"""The subcommands `meterhouse query` and `explain`.

They ask a running server over HTTP, and need nothing but the standard library.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.cli.common import report_error
from shim.cli.client import AskError, ask
from shim.cli.options import api_options
from shim.cli.output import answer, as_csv, explanation, only_metric
from shim.cli.times import positive_duration_s, time_s, with_negative_values

#: Options whose value may begin with `-` and a digit: they are refused with the form that is accepted.
_NEGATIVE: Final = ("--range", "--step", "--time")


def _question(command: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"meterhouse {command}", description=description)
    parser.add_argument("promql", help="the expression")
    parser.add_argument(
        "--range", type=positive_duration_s, metavar="1h", help="over the time up to --time, not at it alone"
    )
    parser.add_argument(
        "--step", type=positive_duration_s, metavar="10s", help="of --range (default: some 120 points)"
    )
    now_s = time.time()
    parser.add_argument(
        "--time", type=lambda text: time_s(text, now_s), default=now_s, metavar="TIME",
        help="now-1h, Unix seconds or 2026-11-28T10:00:00Z (default: now)",
    )  # fmt: skip
    api_options(parser)
    return parser


def _request(args: argparse.Namespace) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return path, parameters and headers of a question."""
    headers = dict(args.header)
    if args.range is None:
        return "/api/v1/query", {"query": args.promql, "time": f"{args.time:.3f}"}, headers
    step = args.step or max(10.0, args.range / 120 // 10 * 10)
    end = args.time // step * step
    times = {"start": f"{end - args.range // step * step:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
    return "/api/v1/query_range", {"query": args.promql, **times}, headers


def query(argv: Sequence[str]) -> int:
    """Run `meterhouse query`: print a table, and on a terminal a chart of a range."""
    parser = _question("query", "Asks a running API; prints a table, and a chart of a range on a terminal.")
    parser.add_argument(
        "--chart", action=argparse.BooleanOptionalAction, default=None, help="draw, or do not"
    )
    parser.add_argument(
        "-o", "--output", choices=("table", "json", "csv"), default="table",
        help="form of the answer (default %(default)s)",
    )  # fmt: skip
    args = parser.parse_args(with_negative_values([*argv], _NEGATIVE))
    path, parameters, headers = _request(args)
    try:
        document = ask(args.url, path, parameters, headers)
    except AskError as e:
        return report_error("query", e, 1)
    print(_formatted(args, document["data"]))
    for kind in ("warnings", "infos"):
        for text in document.get(kind, ()):
            print(f"{kind[:-1]}: {text}", file=sys.stderr)
    return 0


def _formatted(args: argparse.Namespace, data: Mapping[str, Any]) -> str:
    match args.output:
        case "json":
            return json.dumps(data, ensure_ascii=False)
        case "csv":
            return as_csv(data)
    terminal = sys.stdout.isatty()
    width = min(shutil.get_terminal_size((80, 24)).columns, 120)
    draw = terminal if args.chart is None else args.chart
    colour = terminal and "NO_COLOR" not in os.environ
    return answer(data, width, draw=draw, colour=colour, unit=_unit(args, only_metric(data)))


def _unit(args: argparse.Namespace, metric: str) -> str:
    """Ask for the unit of a metric; "" where it is unknown, as the answer itself is there."""
    if not metric:
        return ""
    try:
        told = ask(args.url, "/api/v1/metadata", {"metric": metric}, dict(args.header), method="GET")
        return next((str(entry.get("unit", "")) for entry in told["data"].get(metric, ())), "")
    except AskError:
        return ""


def explain(argv: Sequence[str]) -> int:
    """Run `meterhouse explain`: print the plan and the SQL of a query, as the server made them."""
    parser = _question("explain", "Prints the plan and the SQL of a query, as a running API made them.")
    args = parser.parse_args(with_negative_values([*argv], _NEGATIVE))
    path, parameters, headers = _request(args)
    try:
        document = ask(args.url, path, {**parameters, "explain": "1"}, headers)
    except AskError as e:
        return report_error("explain", e, 1)
    if "explain" not in document:
        return report_error("explain", f"{args.url}: no explanation: expected Meterhouse's API", 1)
    print(explanation(document["explain"]))
    return 0
