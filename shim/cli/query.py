"""The subcommands `meterhouse query` and `explain`.

They ask a running server over HTTP, and need nothing but the standard library.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Final

from agent.cli.common import report_error
from shim.cli.client import AskError, ask
from shim.cli.output import answer, explanation
from shim.model.durations import UNITS_MS

_DURATION: Final = re.compile(r"(\d++(?:\.\d++)?)(ms|s|m|h|d|w)?")
#: Unlike Prometheus' durations, also fractions, units in any order, and numbers without a unit (seconds).
_SECONDS: Final = {unit: ms / 1000 for unit, ms in UNITS_MS} | {"": 1}


def duration_s(text: str) -> float:
    """`90`, `90s`, `1h`, `1h30m` in seconds, for argparse."""
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration like 90s, 5m or 1h30m")
    return sum(float(n) * _SECONDS[unit] for n, unit in _DURATION.findall(text))


def _question(command: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"meterhouse {command}", description=description)
    parser.add_argument("promql", help="the expression")
    parser.add_argument(
        "--range", type=duration_s, metavar="1h", help="over the time up to --time, not at it alone"
    )
    parser.add_argument(
        "--step", type=duration_s, metavar="10s", help="of --range (default: some 120 points)"
    )
    parser.add_argument("--time", type=float, metavar="UNIX", help="seconds (default: now)")
    parser.add_argument("--url", default="http://127.0.0.1:9090", help="of the API (default %(default)s)")
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE",
                        help="sent along, such as 'Authorization: Bearer ...' or 'X-Org-Id: 1'")  # fmt: skip
    return parser


def _request(args: argparse.Namespace) -> tuple[str, dict[str, str], dict[str, str]]:
    """Path, parameters and headers of a question."""
    now = args.time if args.time is not None else time.time()
    headers = {k.strip(): v.strip() for k, _, v in (h.partition(":") for h in args.header)}
    if args.range is None:
        return "/api/v1/query", {"query": args.promql, "time": f"{now:.3f}"}, headers
    step = args.step or max(10.0, args.range / 120 // 10 * 10)
    end = now // step * step
    times = {"start": f"{end - args.range // step * step:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
    return "/api/v1/query_range", {"query": args.promql, **times}, headers


def query(argv: Sequence[str]) -> int:
    """`meterhouse query`: a table, and on a terminal a chart of a range."""
    parser = _question("query", "Asks a running API; prints a table, and a chart of a range on a terminal.")
    parser.add_argument(
        "--chart", action=argparse.BooleanOptionalAction, default=None, help="draw, or do not"
    )
    args = parser.parse_args(argv)
    path, parameters, headers = _request(args)
    try:
        document = ask(args.url, path, parameters, headers)
    except AskError as e:
        return report_error("query", e, 1)
    terminal = sys.stdout.isatty()
    width = min(shutil.get_terminal_size((80, 24)).columns, 120)
    draw = terminal if args.chart is None else args.chart
    print(answer(document["data"], width, draw=draw, colour=terminal and "NO_COLOR" not in os.environ))
    for kind in ("warnings", "infos"):
        for text in document.get(kind, ()):
            print(f"{kind[:-1]}: {text}", file=sys.stderr)
    return 0


def explain(argv: Sequence[str]) -> int:
    """`meterhouse explain`: the plan and the SQL of a query, as the server made them."""
    args = _question(
        "explain", "Prints the plan and the SQL of a query, as a running API made them."
    ).parse_args(argv)
    path, parameters, headers = _request(args)
    try:
        document = ask(args.url, path, {**parameters, "explain": "1"}, headers)
    except AskError as e:
        return report_error("explain", e, 1)
    if "explain" not in document:
        return report_error("explain", f"{args.url} explains nothing: it is no Meterhouse", 1)
    print(explanation(document["explain"]))
    return 0
