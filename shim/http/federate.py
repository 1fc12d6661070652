"""`/federate`: the latest samples of some selectors, as text for another Prometheus to scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
from aiohttp import web

from shim.answer import Answer, QueryOptions
from shim.errors import BadData
from shim.http.context import CONTEXT
from shim.http.numbers import float_text
from shim.http.request import matcher_sets, params_of, tenant_of
from shim.http.respond import plain
from shim.labels import NAME, Labels
from shim.values import Vector

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


async def federate(request: web.Request) -> web.Response:
    """Floats alone: histograms do not fit the text format."""
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
    lines = [f"{series_text(labels)} {value} {at_ms}\n" for labels, value in sorted(samples.items())]
    return plain("".join(lines))


def _samples(found: Answer) -> Iterator[tuple[Labels, str]]:
    if isinstance(found.value, Vector):
        for row in np.flatnonzero(found.value.present[:, 0]).tolist():
            yield found.value.labels[row], float_text(float(found.value.values[row, 0]))


def series_text(labels: Labels) -> str:
    """`name{label="value"}` of the text exposition format."""
    name = dict(labels).get(NAME, "")
    pairs = ",".join(f'{k}="{v.translate(_ESCAPES)}"' for k, v in labels if k != NAME)
    return f"{name}{{{pairs}}}"
