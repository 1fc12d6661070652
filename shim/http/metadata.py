"""Label names, label values, series and metadata, as Grafana's pickers request them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from aiohttp import web

from shim.catalog.metadata import MatcherSets
from shim.http import params as p
from shim.http.context import CONTEXT, HttpContext
from shim.http.request import in_slot, matcher_sets, params_of, tenant_of
from shim.http.responses import TRUNCATED, answer
from shim.model.errors import BadData
from shim.model.labels import Labels
from shim.model.tenancy import Tenant

T = TypeVar("T")


async def label_names(request: web.Request) -> web.Response:
    """Answer with the label names of the matching series."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    limit, (start_ms, end_ms) = p.limit(given), _window(given)

    def find(sets: MatcherSets) -> list[str]:
        return context.explorer.label_names(tenant, sets, start_ms, end_ms)

    found = await _ask_matching(context, tenant, given, find)
    return _cut(context, "labels", found, limit)


async def label_values(request: web.Request) -> web.Response:
    """Answer with the values of one label in the matching series."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    label = p.unescape_label_name(request.match_info["name"])
    limit, (start_ms, end_ms) = p.limit(given), _window(given)

    def find(sets: MatcherSets) -> list[str]:
        return context.explorer.label_values(tenant, label, sets, start_ms, end_ms)

    found = await _ask_matching(context, tenant, given, find)
    return _cut(context, "label_values", found, limit)


async def series(request: web.Request) -> web.Response:
    """Answer with the label sets of the matching series."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    if not given.all("match[]"):
        raise BadData("no match[] parameter provided")
    limit, (start_ms, end_ms) = p.limit(given), _window(given)

    def find(sets: MatcherSets) -> list[Labels]:
        return context.explorer.series(tenant, sets, start_ms, end_ms, limit)

    found = await _ask_matching(context, tenant, given, find)
    return _cut(context, "series", [dict(labels) for labels in found], limit)


async def metadata(request: web.Request) -> web.Response:
    """Answer with type, help and unit of metrics."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    limit, per_metric = _metadata_limit(given, "limit"), _metadata_limit(given, "limit_per_metric")
    metric = given.get("metric") or None
    ask = partial(context.explorer.metadata, tenant, metric, p.MIN_TIME_MS, p.MAX_TIME_MS)
    found = await in_slot(context, tenant, ask)
    names = sorted(found)[: limit if limit >= 0 else None]
    return answer({name: found[name][: per_metric if per_metric > 0 else None] for name in names})


def _metadata_limit(given: p.Params, name: str) -> int:
    """Read the limit; -1 for none: here 0 gives nothing (Prometheus 3.x, metricMetadata)."""
    text = given.get(name)
    if not text:
        return -1
    try:
        return p.integer(text)
    except ValueError:
        raise BadData(f"{name} must be a number") from None


def _window(given: p.Params) -> tuple[int, int]:
    """Read `start` and `end`; all times when they are not given."""
    start_ms = p.time_ms(given, "start", p.MIN_TIME_MS)
    end_ms = p.time_ms(given, "end", p.MAX_TIME_MS)
    return start_ms, max(start_ms, end_ms)


async def _ask_matching(
    context: HttpContext, tenant: Tenant, given: p.Params, find: Callable[[MatcherSets], T]
) -> T:
    """Parse `match[]` and find the matching names, in the pool."""
    max_bytes = context.settings.max_query_bytes
    return await in_slot(context, tenant, lambda: find(matcher_sets(given, max_bytes)))


def _cut(context: HttpContext, endpoint: str, found: Sequence[object], limit: int) -> web.Response:
    if limit and len(found) > limit:
        context.metrics.truncated.labels(endpoint).inc()
        return answer(found[:limit], warnings=[TRUNCATED])
    return answer(found)
