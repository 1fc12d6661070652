"""The aiohttp application: the handler of each path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from shim.http import (
    admin_requests,
    backfill_requests,
    house,
    language,
    metadata,
    mql,
    query,
    rule_pages,
    snql,
    status,
)
from shim.http import subscription_requests as subscriptions
from shim.http.authentication import admit
from shim.http.context import CONTEXT, HttpContext
from shim.http.federate import federate
from shim.http.graph_links import graph
from shim.http.page import Page, add_page
from shim.http.responses import envelope

_Handler = Callable[[web.Request], Awaitable[web.Response]]

_GET_AND_POST: Final[dict[str, _Handler]] = {
    "query": query.instant,
    "query_range": query.over_range,
    "query_exemplars": language.query_exemplars,
    "format_query": language.format_query,
    "parse_query": language.parse_query,
    "labels": metadata.label_names,
    "series": metadata.series,
    "meterhouse/lines": house.lines,
}
_GET: Final[dict[str, _Handler]] = {
    "label/{name}/values": metadata.label_values,
    "metadata": metadata.metadata,
    "rules": rule_pages.rules,
    "alerts": rule_pages.alerts,
    "alertmanagers": status.alertmanagers,
    "targets": status.targets,
    "targets/metadata": status.target_metadata,
    "scrape_pools": status.scrape_pools,
    "notifications": status.notifications,
    "meterhouse/metrics": house.metrics,
    "meterhouse/status": house.state,
    "status/buildinfo": status.build_info,
    "status/runtimeinfo": status.runtime_info,
    "status/config": status.config,
    "status/tsdb": status.tsdb,
    "status/walreplay": status.wal_replay,
}
_ADMIN: Final[dict[str, _Handler]] = {
    "delete_series": admin_requests.delete_series,
    "clean_tombstones": admin_requests.clean_tombstones,
    "snapshot": admin_requests.snapshot,
}


def make_app(context: HttpContext, sources: house.House) -> web.Application:
    """Make the application with all routes and middlewares."""
    app = web.Application(middlewares=[envelope, admit], client_max_size=context.settings.max_form_bytes)
    app[CONTEXT] = context
    app[house.HOUSE] = sources
    router = app.router
    add_page(router, Page.load())
    router.add_get("/graph", graph)
    router.add_get("/-/healthy", status.healthy)
    router.add_get("/-/ready", status.ready)
    router.add_post("/-/reload", _changing(rule_pages.reload))
    router.add_post("/api/v1/rules/backfill", _changing(backfill_requests.backfill))
    router.add_get("/metrics", status.own_metrics)
    router.add_get("/federate", federate)
    for path, handler in _GET_AND_POST.items():
        router.add_get(f"/api/v1/{path}", handler)
        router.add_post(f"/api/v1/{path}", handler)
    router.add_get(f"{snql.PATH}/snql", snql.snql)
    router.add_post(f"{snql.PATH}/snql", snql.snql)
    router.add_get(f"{snql.PATH}/mql", mql.mql)
    router.add_post(f"{snql.PATH}/mql", mql.mql)
    router.add_get(subscriptions.PATH, subscriptions.listed)
    router.add_post(subscriptions.PATH, _changing(subscriptions.subscribe))
    router.add_get(subscriptions.ONE, subscriptions.results)
    router.add_delete(subscriptions.ONE, _changing(subscriptions.unsubscribe))
    for path in ("snql", "mql"):
        router.add_options(f"{snql.PATH}/{path}", _options)
    for path, handler in _GET.items():
        router.add_get(f"/api/v1/{path}", handler)
    router.add_delete("/api/v1/series", _changing(status.drop_series))
    for path, handler in _ADMIN.items():
        router.add_post(f"{admin_requests.PATH}/{path}", _changing(handler))
        router.add_put(f"{admin_requests.PATH}/{path}", _changing(handler))
    router.add_options("/api/v1/{path:.*}", _options)
    return app


def _changing(handler: _Handler) -> _Handler:
    """Wrap a handler that changes something: not for pages of other hosts. Other POSTs are reads."""

    async def checked(request: web.Request) -> web.Response:
        context = request.app[CONTEXT]
        if (refusal := context.pages.refusal(request.headers)) is not None:
            context.metrics.refused.labels("web_page").inc()
            body = {"status": "error", "errorType": "bad_data", "error": refusal}
            return web.json_response(body, status=403)
        return await handler(request)

    return checked


async def _options(_: web.Request) -> web.Response:
    return web.Response(status=204)
