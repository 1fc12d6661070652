"""The subcommand `meterhouse rules backfill`: drives a running API through ticks of the past.

The server evaluates and stores (shim/rules/rule_backfill.py); this command shows the progress, and keeps the
place in a state file, so that a run that was interrupted goes on there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agent.cli.common import DEFAULT_API_URL, report_error
from agent.cli.progress_bar import ProgressBar
from agent.runtime.replace_file import replace_file
from shim.cli.client import AskError, ask
from shim.cli.options import header
from shim.cli.times import time_s

_PATH: Final = "/api/v1/rules/backfill"
#: Pauses before a call that failed for a moment is tried again.
_PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
_PASSING: Final = ("unavailable", "timeout")


def rules(argv: Sequence[str]) -> int:
    """Run `meterhouse rules backfill`: 0 all is stored, 1 a rule or request failed, 130 interrupted."""
    now_s = time.time()
    args = _parser(now_s).parse_args(argv)
    start_s, end_s = math.floor(args.start), math.floor(args.end)
    if end_s <= start_s:
        return report_error("rules backfill", "--to: expected a time after --from", 2)
    asked = {"start": str(start_s), "end": str(end_s), "skip_failed": "1" if args.skip_failed else "0"}
    pairs = [("rule_group[]", group) for group in args.group] + [("file[]", file) for file in args.file]
    state = Path(args.state or _state_name(args.url, asked, pairs))
    totals = {"stored": 0, "known": 0, "samples": 0}
    try:
        for part in _parts(args, asked, pairs, state):
            totals = {name: totals[name] + part[name] for name in totals}
    except AskError as e:
        return report_error("rules backfill", f"{e}\n  the same command goes on from here ({state})", 1)
    except OSError as e:
        return report_error("rules backfill", f"{state}: {e.strerror}: expected a writable state file", 1)
    state.unlink(missing_ok=True)
    print(
        f"stored: {totals['samples']:,} samples of {totals['stored']:,} ticks;"
        f" {totals['known']:,} ticks were stored before"
    )
    return 0


def _parser(now_s: float) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterhouse rules",
        description="Evaluates the recording rules of a running API over the past, each tick once.",
    )
    parser.add_argument("action", choices=("backfill",), help="the only one there is")
    parser.add_argument(
        "--from", dest="start", required=True, type=lambda text: time_s(text, now_s), metavar="TIME",
        help="now-30d, Unix seconds or 2026-11-28T10:00:00Z",
    )  # fmt: skip
    parser.add_argument(
        "--to", dest="end", default=now_s, type=lambda text: time_s(text, now_s), metavar="TIME",
        help="the last tick (default: now; later ticks than the last live one are left to the server)",
    )  # fmt: skip
    parser.add_argument("--group", action="append", default=[], metavar="NAME", help="a group (default: all)")
    parser.add_argument(
        "--file", action="append", default=[], metavar="NAME", help="a rule file (default: all)"
    )
    parser.add_argument(
        "--skip-failed", action="store_true", help="leave out rules at ticks where they fail; else it stops"
    )
    parser.add_argument("--state", metavar="PATH", help="where the place is kept (default: a file here)")
    parser.add_argument("--url", default=DEFAULT_API_URL, help="of the API (default %(default)s)")
    parser.add_argument("--header", type=header, action="append", default=[], metavar="NAME:VALUE",
                        help="sent along, such as 'Authorization: Bearer ...' or 'X-Org-Id: 1'")  # fmt: skip
    return parser


def _state_name(url: str, asked: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> str:
    """Return a name of the state file, another for each range and choice of groups."""
    text = json.dumps([url, sorted(asked.items()), sorted(pairs)])
    return f"rules-backfill-{hashlib.sha256(text.encode()).hexdigest()[:12]}.state"


def _parts(
    args: argparse.Namespace, asked: Mapping[str, str], pairs: Sequence[tuple[str, str]], state: Path
) -> Iterator[dict[str, Any]]:
    """Yield the outcome of each call, with the progress shown. Raises AskError, OSError."""
    place = state.read_text() if state.exists() else ""
    bar: ProgressBar | None = None
    try:
        while True:
            parameters = [*asked.items(), *pairs, *([("next", place)] if place else [])]
            part = _asked(args.url, parameters, dict(args.header))
            bar = bar or ProgressBar(part["total"], sys.stderr, unit="ticks")
            bar.progress(part["done"], part["done"])
            yield part
            if part["next"] is None:
                return
            place = part["next"]
            replace_file(state, place.encode())
    finally:
        if bar is not None:
            bar.end()


def _asked(url: str, parameters: Sequence[tuple[str, str]], headers: Mapping[str, str]) -> dict[str, Any]:
    """Call the server, again after errors that pass. Raises AskError."""
    for pause_s in (*_PAUSES_S, None):
        try:
            data: dict[str, Any] = ask(url, _PATH, parameters, headers)["data"]
        except AskError as e:
            if pause_s is None or not str(e).startswith(_PASSING):
                raise
            time.sleep(pause_s)
        else:
            return data
    raise AssertionError
