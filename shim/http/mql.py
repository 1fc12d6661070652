"""`/{dataset}/mql`: Sentry's endpoint for MQL, with its context and SnQL's answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from shim.http.context import CONTEXT
from shim.http.request import tenant_of
from shim.http.snql import asked_of, body_of, flag, ids_of, options_of, text_of, time_of, written
from shim.model.errors import BadData
from shim.mql.mql_lower import MqlContext
from shim.snql.lower import Asked
from shim.snql.lowered import MAX_ROWS
from shim.snql.processors.granularity import granularity

_MAX_SECONDS: Final = 2**32 - 1
_MAX_ID: Final = 2**64 - 1


async def mql(request: web.Request) -> web.Response:
    """Answer a query in MQL."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    body = await body_of(request)
    text = text_of(body, "mql", "query")
    given = _object("mql_context", body.get("mql_context"))
    asked = _with_scope(asked_of(request, context, tenant, body), given)
    options = options_of(body, context)
    meant = mql_context(given)
    dry_run = flag(body, "dry_run")
    async with context.turns.turn(options.timeout_s, tenant.org_id) as turn:
        found = await context.languages.mql(text, meant, asked, options, turn.lasts, dry_run=dry_run)
        return await context.blocking(
            written, found, debug=flag(body, "debug") or dry_run, explain=flag(body, "explain")
        )


def _with_scope(asked: Asked, given: Mapping[str, Any]) -> Asked:
    """Return the request with the time and the scope of its context."""
    scope = _object("mql_context.scope", given.get("scope"))
    orgs = ids_of("mql_context.scope.org_ids", scope.get("org_ids"))
    projects = ids_of("mql_context.scope.project_ids", scope.get("project_ids"))
    from_s, to_s = time_of(given, "start"), time_of(given, "end")
    return replace(
        asked,
        orgs=asked.orgs if orgs is None else orgs,
        projects=asked.projects if projects is None else projects,
        from_s=asked.from_s if from_s is None else from_s,
        to_s=asked.to_s if to_s is None else to_s,
    )


def mql_context(given: Mapping[str, Any]) -> MqlContext:
    """Read `mql_context` but its time and scope. Raises BadData."""
    rollup = _object("mql_context.rollup", given.get("rollup"))
    scope = _object("mql_context.scope", given.get("scope"))
    order = rollup.get("orderby")
    if order is not None and str(order).upper() not in ("ASC", "DESC"):
        raise BadData(f"mql_context.rollup.orderby = {str(order)[:40]!r}: expected ASC or DESC")
    use_case = scope.get("use_case_id")
    if use_case is not None and not isinstance(use_case, str):
        raise BadData("mql_context.scope.use_case_id: expected a text")
    return MqlContext(
        _granularity(rollup.get("granularity")),
        _number("rollup.interval", rollup.get("interval"), 1),
        flag(rollup, "with_totals"),
        None if order is None else str(order).upper() == "DESC",
        use_case or None,
        _number("limit", given.get("limit"), 0, MAX_ROWS),
        _number("offset", given.get("offset"), 0) or 0,
        _mappings(given.get("indexer_mappings")),
    )


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadData(f"{name}: expected an object")
    return value


def _granularity(value: Any) -> int | None:
    found = _number("rollup.granularity", value, 1)
    try:
        granularity(found)
    except BadData as e:
        raise BadData(f"mql_context.rollup.{e}") from None
    return found


def _number(name: str, value: Any, low: int, high: int = _MAX_SECONDS) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not low <= value <= high:
        raise BadData(f"mql_context.{name}: expected a whole number, {low} to {high}")
    return value


def _mappings(value: Any) -> Mapping[str, str | int]:
    found = _object("mql_context.indexer_mappings", value)
    for name, meant in found.items():
        if not isinstance(meant, str) and not (type(meant) is int and 0 < meant <= _MAX_ID):
            raise BadData(f"mql_context.indexer_mappings.{name[:40]}: expected an id or a name")
    return found
