"""The subcommand `meterhouse top`: the metrics with the most series, again and again on a terminal."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.cli.common import report_error
from agent.cli.text_table import table
from shim.cli.client import AskError, ask
from shim.cli.options import api_options, whole
from shim.cli.times import positive_duration_s, utc

_EVERY: Final = "5s"


def top(argv: Sequence[str]) -> int:
    """Run `meterhouse top`: until Ctrl-C on a terminal, once elsewhere."""
    parser = argparse.ArgumentParser(
        prog="meterhouse top",
        description="Prints the metrics with the most series now; on a terminal again and again.",
    )
    parser.add_argument("--count", type=whole, default=20, metavar="N", help="metrics (default %(default)s)")
    parser.add_argument("--every", type=positive_duration_s, default=5.0, metavar=_EVERY,
                        help=f"time between two tables (default {_EVERY})")  # fmt: skip
    parser.add_argument("--once", action="store_true", help="print one table and end")
    api_options(parser)
    args = parser.parse_args(argv)
    try:
        while True:
            text = _table(args.url, dict(args.header), args.count)
            if args.once or not sys.stdout.isatty():
                print(text)
                return 0
            lines = shutil.get_terminal_size((80, 24)).lines - 1
            print("\x1b[H\x1b[2J" + "\n".join(text.splitlines()[:lines]), flush=True)
            time.sleep(args.every)
    except AskError as e:
        return report_error("top", e, 1)


def _table(url: str, headers: Mapping[str, str], count: int) -> str:
    query = f'topk({count}, count by (__name__) ({{__name__=~".+"}}))'
    now_s = time.time()
    asked = {"query": query, "time": f"{now_s:.3f}"}
    metrics = ask(url, "/api/v1/query", asked, headers)["data"]["result"]
    types = ask(url, "/api/v1/metadata", {}, headers, method="GET")["data"]
    return f"{utc(now_s)} UTC\n\n{ranked(metrics, types)}"


def ranked(metrics: Sequence[Mapping[str, Any]], types: Mapping[str, Sequence[Mapping[str, str]]]) -> str:
    """Format the metrics, those with the most series first. Pure."""
    rows = []
    for one in sorted(metrics, key=lambda m: (-float(m["value"][1]), m["metric"].get("__name__", ""))):
        name = one["metric"].get("__name__", "")
        described = next(iter(types.get(name, ())), {})
        rows.append([name, described.get("type", ""), described.get("unit", ""), one["value"][1]])
    return table(("metric", "type", "unit", "series"), rows, right=(3,)) if rows else "no series"
