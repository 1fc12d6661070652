"""`/federate`: the latest samples of some selectors, as text for another Prometheus to scrape.

Each sample has its own time: a gauge that of its last value, other types the end of the last complete bucket.
Distributions are classic histograms: native ones do not fit the text format.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from aiohttp import web

from shim.engine.api import Latest, QueryOptions
from shim.http.context import CONTEXT
from shim.http.request import matcher_sets, params_of, tenant_of
from shim.http.responses import plain
from shim.http.text_exposition import Sample, exposition
from shim.model.errors import BadData
from shim.model.labels import Labels
from shim.model.number_format import float_text

#: How far back metric names are looked up: federated metrics have recent data.
_NAMES_MS: Final = 86_400_000
_UTF8: Final = "escaping=allow-utf-8"


async def federate(request: web.Request) -> web.Response:
    """Answer with the latest samples of the selectors as text."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    if not given.all("match[]"):
        raise BadData("no match[] parameter provided")
    at_ms = context.now_ms()
    options = QueryOptions(timeout_s=context.settings.timeout_s)
    found: list[Latest] = []
    max_bytes = context.settings.max_query_bytes
    async with context.turns.turn(options.timeout_s, tenant.org_id) as turn:
        checking = context.begin(matcher_sets, given, max_bytes)  # refuses anything but selectors
        turn.lasts(checking)
        await asyncio.wrap_future(checking)
        for selector in given.all("match[]"):
            found += await context.engine.latest(tenant, selector, at_ms, options, turn.lasts)
        explaining = context.begin(context.explorer.metadata, tenant, None, max(0, at_ms - _NAMES_MS), at_ms)
        turn.lasts(explaining)
        metadata = await asyncio.wrap_future(explaining)
        utf8 = _UTF8 in request.headers.get("Accept", "").lower()
        text = await context.blocking(lambda: exposition(_samples(found), metadata, utf8=utf8))
    response = plain(text)
    if utf8:
        response.headers["Content-Type"] = f"text/plain; version=1.0.0; charset=utf-8; {_UTF8}"
    return response


def _samples(found: Sequence[Latest]) -> Iterator[Sample]:
    """Return each series once; a stored metric wins over a classic series of a distribution."""
    seen: set[Labels] = set()
    for latest in sorted(found, key=lambda one: one.kind == "histogram"):
        there = latest.vector.present[:, 0]
        for row in np.flatnonzero(there).tolist():
            labels = latest.vector.labels[row]
            if labels not in seen:
                seen.add(labels)
                value = float_text(float(latest.vector.values[row, 0]))
                yield Sample(labels, value, int(latest.times_ms[row]))
