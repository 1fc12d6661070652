"""The subcommand `meterhouse tail`: prints the values of each new bucket of a metric until Ctrl-C."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from agent.cli.common import report_error
from agent.cli.text_table import number
from shim.cli.client import AskError, ask
from shim.cli.export_rows import QUERIES, kind_of
from shim.cli.options import api_options, whole
from shim.cli.output import histogram_text, series_name
from shim.cli.times import utc

_BUCKET_S: Final = 10
#: Between two questions: a bucket shows a second or two after its end.
_EVERY_S: Final = 2.0
#: How far back each question goes, so that late buckets are shown, too.
_BACK_S: Final = 60


def tail(argv: Sequence[str]) -> int:
    """Run `meterhouse tail`."""
    parser = argparse.ArgumentParser(
        prog="meterhouse tail",
        description="Prints the values of each new bucket of a metric, as they are stored, until Ctrl-C.",
    )
    parser.add_argument("metric", help="its name, such as shop_requests")
    parser.add_argument("--buckets", type=whole, metavar="N", help="end after this many with values")
    api_options(parser)
    args = parser.parse_args(argv)
    try:
        follow(args.url, dict(args.header), args.metric, args.buckets)
    except AskError as e:
        return report_error("tail", e, 1)
    return 0


def follow(url: str, headers: Mapping[str, str], metric: str, buckets: int | None) -> None:
    """Print new buckets until `buckets` of them had values. Raises AskError."""
    known = ask(url, "/api/v1/metadata", {"metric": metric}, headers, method="GET")["data"].get(metric)
    if not known or not (kind := kind_of(known[0])):
        raise AskError(f"{metric}: no such metric: expected a name as in PromQL, such as shop_requests")
    quoted = metric.replace("\\", "\\\\").replace('"', '\\"')
    query = QUERIES[kind][0].format(selector=f'{{__name__="{quoted}"}}', step=_BUCKET_S)
    shown_s = int(time.time()) // _BUCKET_S * _BUCKET_S - _BACK_S
    while True:
        end = int(time.time()) // _BUCKET_S * _BUCKET_S
        times = {"start": str(end - _BACK_S), "end": str(end), "step": str(_BUCKET_S)}
        data = ask(url, "/api/v1/query_range", {"query": query, **times}, headers)["data"]
        for at, lines in sorted(by_time(data["result"], metric, kind).items()):
            if at > shown_s:
                print("\n".join(f"{utc(at - _BUCKET_S)[11:]}  {line}" for line in lines), flush=True)
                shown_s = at
                if buckets is not None and (buckets := buckets - 1) <= 0:
                    return
        time.sleep(_EVERY_S)


def by_time(series: Sequence[Mapping[str, Any]], metric: str, kind: str) -> dict[int, list[str]]:
    """Return the lines of each time with a value. Pure."""
    out: dict[int, list[str]] = {}
    for one in series:
        name = series_name({**one["metric"], "__name__": metric})
        for at, text in _texts(one, kind):
            out.setdefault(at, []).append(f"{name}  {text}")
    return out


def _texts(series: Mapping[str, Any], kind: str) -> Iterator[tuple[int, str]]:
    for at, value in series.get("values", ()):
        if float(value) or kind == "gauge":
            yield int(at), f"{'+' if kind == 'counter' else ''}{number(float(value))}"
    for at, histogram in series.get("histograms", ()):
        if float(histogram["count"]):
            yield int(at), histogram_text(histogram)
