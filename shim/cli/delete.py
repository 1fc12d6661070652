"""The subcommand `meterhouse delete`: deletes series by a running API, after a count and a question."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from agent.cli.common import report_error
from agent.cli.progress_bar import ProgressBar
from shim.cli.client import AskError, ask
from shim.cli.options import api_options
from shim.cli.times import time_s, utc, with_negative_values

_PATH: Final = "/api/v1/admin/tsdb/delete_series"
#: How long the server may delete without an answer.
_TIMEOUT_S: Final = 6 * 3_600.0
_TICK_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class _Counted:
    """The counts of one selector, and the time that is deleted, as text."""

    series: int
    rows: int
    span: str

    @staticmethod
    def of(data: Mapping[str, Any]) -> _Counted:
        start, end = data["start"], data["end"]
        begin = f"from {utc(start)} UTC" if start else "from the beginning"
        return _Counted(data["series"], data["rows"], f"{begin} {f'to {utc(end)} UTC' if end else 'on'}")

    def __str__(self) -> str:
        return f"{self.series:,} series, {self.rows:,} rows of all granularities, {self.span}"


def delete(argv: Sequence[str]) -> int:
    """Run `meterhouse delete`: 0 deleted or counted, 1 not deleted, 2 a wrong command line."""
    args = _parser(time.time()).parse_args(with_negative_values([*argv], ("--from", "--to")))
    if args.start is not None and args.end is not None and args.end <= args.start:
        return report_error("delete", "--to: expected a time after --from", 2)
    try:
        counted = [_Counted.of(_asked(args, match, dry_run=True)) for match in args.match]
        for match, one in zip(args.match, counted, strict=True):
            print(f"{match}: {one}")
        if args.dry_run:
            return 0
        if any(one.rows for one in counted) and not args.yes:
            if not sys.stdin.isatty():
                return report_error("delete", "the terminal cannot be asked: expected --yes", 2)
            if not _agreed(args.url):
                print("nothing was deleted")
                return 1
        return _delete(args, counted)
    except AskError as e:
        return report_error("delete", str(e), 1)


def _parser(now_s: float) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterhouse delete",
        description="Deletes the samples of series from all granularities, by a running API whose setting"
        " shim.admin_api allows it. Data that comes later is stored as ever.",
    )
    parser.add_argument(
        "match", nargs="+", metavar="MATCH", help="the series, such as shop_requests or 'x{host=\"a\"}'"
    )
    moment = lambda text: time_s(text, now_s)  # noqa: E731 - for argparse, twice
    parser.add_argument("--from", dest="start", type=moment, metavar="TIME",
                        help="now-30d, Unix seconds or 2026-11-28T10:00:00Z (default: all)")  # fmt: skip
    parser.add_argument("--to", dest="end", type=moment, metavar="TIME", help="default: no end")
    parser.add_argument("--dry-run", action="store_true", help="count, and delete nothing")
    parser.add_argument("--yes", action="store_true", help="ask no question")
    api_options(parser)
    return parser


def _agreed(url: str) -> bool:
    return input(f"Delete this at {url}? It cannot be undone. [y/N] ").strip().lower() in ("y", "yes")


def _delete(args: argparse.Namespace, counted: Sequence[_Counted]) -> int:
    """Delete by one selector after another, with the progress shown. Raises AskError."""
    rows = sum(one.rows for one in counted)
    bar, done, deleted = ProgressBar(rows, sys.stderr, unit="rows"), 0, [0, 0]
    try:
        for match, one in zip(args.match, counted, strict=True):
            data = _while_shown(partial(_asked, args, match), bar, done)
            deleted = [deleted[0] + data["series"], deleted[1] + data["rows"]]
            done += one.rows
            bar.progress(done, done)
    finally:
        bar.end()
    print(f"deleted: {deleted[0]:,} series, {deleted[1]:,} rows")
    return 0


def _while_shown(call: Callable[[], dict[str, Any]], bar: ProgressBar, done: int) -> dict[str, Any]:
    """Run a long request, and show meanwhile that it runs. Raises AskError."""
    found: list[dict[str, Any]] = []
    failed: list[AskError] = []

    def run() -> None:
        try:
            found.append(call())
        except AskError as e:
            failed.append(e)

    thread = threading.Thread(target=run, name="delete", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_TICK_S)
        bar.progress(done, done)
    if failed:
        raise failed[0]
    return found[0]


def _asked(args: argparse.Namespace, match: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Return the counts of one request. Raises AskError."""
    asked = [("match[]", match)]
    asked += [
        (name, f"{at:.3f}") for name, at in (("start", args.start), ("end", args.end)) if at is not None
    ]
    asked += [("dry_run", "1")] if dry_run else []
    document = ask(args.url, _PATH, asked, dict(args.header), timeout_s=_TIMEOUT_S)
    data: dict[str, Any] = document["data"]
    return data
