"""Label names, label values, series, metadata: what Grafana's pickers ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from aiohttp import web

from shim.errors import BadData
from shim.http import params as p
from shim.http.context import CONTEXT, Context
from shim.http.request import matcher_sets, params_of, tenant_of
from shim.http.respond import TRUNCATED, answer
from shim.tenancy import Tenant

T = TypeVar("T")


async def label_names(request: web.Request) -> web.Response:
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    limit, (start_ms, end_ms), sets = p.limit(given), _window(given), matcher_sets(given)
    found = await _ask(context, context.explorer.label_names, tenant, sets, start_ms, end_ms)
    return _cut(context, "labels", found, limit)


async def label_values(request: web.Request) -> web.Response:
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    label = p.unescape_label_name(request.match_info["name"])
    limit, (start_ms, end_ms), sets = p.limit(given), _window(given), matcher_sets(given)
    found = await _ask(context, context.explorer.label_values, tenant, label, sets, start_ms, end_ms)
    return _cut(context, "label_values", found, limit)


async def series(request: web.Request) -> web.Response:
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    if not given.all("match[]"):
        raise BadData("no match[] parameter provided")
    limit, (start_ms, end_ms), sets = p.limit(given), _window(given), matcher_sets(given)
    found = await _ask(context, context.explorer.series, tenant, sets, start_ms, end_ms, limit)
    return _cut(context, "series", [dict(labels) for labels in found], limit)


async def metadata(request: web.Request) -> web.Response:
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    limit, per_metric = _metadata_limit(given, "limit"), _metadata_limit(given, "limit_per_metric")
    metric = given.get("metric") or None
    found = await _ask(context, context.explorer.metadata, tenant, metric, p.MIN_TIME_MS, p.MAX_TIME_MS)
    names = sorted(found)[: limit if limit >= 0 else None]
    return answer({name: found[name][: per_metric if per_metric > 0 else None] for name in names})


def _metadata_limit(given: p.Params, name: str) -> int:
    """-1 for none: here 0 gives nothing (Prometheus 3.x, metricMetadata)."""
    text = given.get(name)
    if not text:
        return -1
    try:
        return int(text)
    except ValueError:
        raise BadData(f"{name} must be a number") from None


def _window(given: p.Params) -> tuple[int, int]:
    """`start` and `end`; all times when they are not given."""
    start_ms = p.time_ms(given, "start", p.MIN_TIME_MS)
    end_ms = p.time_ms(given, "end", p.MAX_TIME_MS)
    return start_ms, max(start_ms, end_ms)


async def _ask(context: Context, call: Callable[..., T], tenant: Tenant, *args: object) -> T:
    async with context.turns.turn(context.settings.timeout_s, tenant.org_id) as turn:
        running = context.begin(call, tenant, *args)
        turn.lasts(running)
        return await asyncio.wrap_future(running)


def _cut(context: Context, endpoint: str, found: Sequence[object], limit: int) -> web.Response:
    if limit and len(found) > limit:
        context.metrics.truncated.labels(endpoint).inc()
        return answer(found[:limit], warnings=[TRUNCATED])
    return answer(found)
