"""`/federate`: the latest samples of some selectors, as text for another Prometheus to scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import numpy as np
from aiohttp import web

from shim.answer import Answer, QueryOptions
from shim.errors import BadData
from shim.http.context import CONTEXT
from shim.http.exposition import Sample, exposition
from shim.http.numbers import float_text
from shim.http.request import matcher_sets, params_of, tenant_of
from shim.http.respond import plain
from shim.labels import Labels
from shim.values import Vector

#: How far back the names of metrics are looked for: what is federated has data now.
_NAMES_MS: Final = 86_400_000
_UTF8: Final = "escaping=allow-utf-8"


async def federate(request: web.Request) -> web.Response:
    """Floats alone: native histograms do not fit the text format."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    if not given.all("match[]"):
        raise BadData("no match[] parameter provided")
    at_ms = context.now_ms()
    options = QueryOptions(timeout_s=context.settings.timeout_s)
    samples: dict[Labels, str] = {}
    max_bytes = context.settings.max_query_bytes
    async with context.turns.turn(options.timeout_s, tenant.org_id) as turn:
        checking = context.begin(matcher_sets, given, max_bytes)  # refuses what is not a selector
        turn.lasts(checking)
        await asyncio.wrap_future(checking)
        for selector in given.all("match[]"):
            found = await context.engine.instant(tenant, selector, at_ms, options, turn.lasts)
            samples.update(_samples(found))
        explaining = context.begin(context.explorer.metadata, tenant, None, max(0, at_ms - _NAMES_MS), at_ms)
        turn.lasts(explaining)
        metadata = await asyncio.wrap_future(explaining)
    utf8 = _UTF8 in request.headers.get("Accept", "").lower()
    found_samples = [Sample(labels, value, at_ms) for labels, value in samples.items()]
    response = plain(exposition(found_samples, metadata, utf8=utf8))
    if utf8:
        response.headers["Content-Type"] = f"text/plain; version=1.0.0; charset=utf-8; {_UTF8}"
    return response


def _samples(found: Answer) -> Iterator[tuple[Labels, str]]:
    if isinstance(found.value, Vector):
        for row in np.flatnonzero(found.value.present[:, 0]).tolist():
            yield found.value.labels[row], float_text(float(found.value.values[row, 0]))
