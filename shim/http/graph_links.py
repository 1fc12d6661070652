"""`/graph`: links as Prometheus makes them, in alerts and templates, lead to the query on our page.

Source: Prometheus' old page: `g0.expr`, `g0.tab` (1: a table), `g0.range_input`, `g0.end_input`, `g1.expr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from shim.model.durations import parse_duration

_MAX_QUERIES: Final = 12
#: Longest text of one expression in a redirect.
_MAX_EXPR: Final = 8_192


async def graph(request: web.Request) -> web.Response:
    """Lead to the page at `/`; a relative address, so that a proxy may add a prefix."""
    return web.Response(status=302, headers={"Location": f"./{page_address(request.query)}"})


def page_address(given: Mapping[str, str]) -> str:
    """Return the part of the page's address from `?` on, for the parameters of such a link."""
    exprs = [given.get(f"g{number}.expr", "")[:_MAX_EXPR] for number in range(_MAX_QUERIES)]
    pairs = [("q", expr) for expr in exprs if expr]
    if given.get("g0.tab") == "1":
        pairs.append(("show", "table"))
    if (range_s := _range_s(given.get("g0.range_input", ""))) > 0:
        pairs.append(("range", str(range_s)))
    if (end_s := _end_s(given.get("g0.end_input", ""))) > 0:
        pairs.append(("end", str(end_s)))
    return f"?{urlencode(pairs)}" if pairs else ""


def _range_s(text: str) -> int:
    """Return a duration in seconds; 0 for other texts."""
    try:
        return parse_duration(text) // 1000
    except ValueError:
        return 0


def _end_s(text: str) -> int:
    """Return the Unix time of `2026-11-28 10:00`, in UTC; 0 for other texts."""
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except (ValueError, OverflowError):
        return 0
