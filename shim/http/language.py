"""Endpoints about the language alone: format_query, parse_query, query_exemplars. They read no data."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from shim.http import params as p
from shim.http.context import CONTEXT
from shim.http.request import in_slot, params_of, tenant_of
from shim.http.responses import answer
from shim.model.errors import BadData
from shim.plan.parse import parse
from shim.promql.ast import Expr
from shim.promql.ast_json import ast_json
from shim.promql.printer import format_query as formatted


async def format_query(request: web.Request) -> web.Response:
    """Answer with the query laid out."""
    return await _of_tree(request, formatted)


async def parse_query(request: web.Request) -> web.Response:
    """Answer with the query's syntax tree."""
    return await _of_tree(request, ast_json)


async def _of_tree(request: web.Request, make: Callable[[Expr], object]) -> web.Response:
    """Answer with the result of `make` for the query's tree."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    query = (await params_of(request)).get("query")
    max_bytes = context.settings.max_query_bytes
    try:
        return answer(await in_slot(context, tenant, lambda: make(parse(query, max_bytes=max_bytes))))
    except BadData as e:
        raise p.invalid("query", str(e)) from None


async def query_exemplars(request: web.Request) -> web.Response:
    """There are no exemplars in StatsD lines: an empty list, for a query that could have some."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    now_ms = context.now_ms()
    start_ms = p.time_ms(given, "start", p.MIN_TIME_MS)
    end_ms = p.time_ms(given, "end", max(now_ms, start_ms))
    if end_ms < start_ms:
        raise BadData("end timestamp must not be before start timestamp")
    query, max_bytes = given.get("query"), context.settings.max_query_bytes
    await in_slot(context, tenant, lambda: parse(query, max_bytes=max_bytes))
    return answer([])
