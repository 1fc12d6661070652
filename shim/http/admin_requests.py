"""`/api/v1/admin/tsdb/...`: deletes series, as Prometheus' admin API; off unless the settings allow it.

Every path needs the right admin where credentials are asked for (shim/http/authentication.py), and deletes of
the request's tenant alone. Source: Prometheus 3.x `web/api/v1/api.go`, deleteSeries, snapshot and
cleanTombstones.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from aiohttp import web

from indexer.deletion.deletion_request import (
    MAX_S,
    DeletionBusyError,
    DeletionRequest,
    DeletionResult,
    MetricSeries,
)
from shim.catalog.deletion_targets import find_series
from shim.http import params as p
from shim.http.context import CONTEXT, HttpContext
from shim.http.request import in_slot, matcher_sets, params_of, tenant_of
from shim.http.responses import answer
from shim.model.errors import AdminDisabled, BadData, ExecutionError, TooMany, Unavailable
from shim.model.tenancy import Tenant

PATH: Final = "/api/v1/admin/tsdb"
_SNAPSHOT: Final = (
    "snapshots are backups of ClickHouse: expected BACKUP DATABASE, or a copy of the stopped data folder"
    " (docs/clickhouse.md)"
)


async def delete_series(request: web.Request) -> web.Response:
    """Delete the samples of the series that any `match[]` selects; `dry_run=1` counts them."""
    context, tenant = _allowed(request)
    given = await params_of(request)
    if not given.all("match[]"):
        raise BadData("no match[] parameter provided")
    start_ms, end_ms = p.time_ms(given, "start", p.MIN_TIME_MS), p.time_ms(given, "end", p.MAX_TIME_MS)
    if end_ms < start_ms:
        raise p.invalid("end", "end timestamp must not be before start time")
    if context.delete is None:
        raise Unavailable("no indexer is known that deletes: expected shim.indexers.urls")
    metrics = await in_slot(
        context, tenant, partial(_found, context, tenant, given, max(start_ms, 0), max(end_ms, 0))
    )
    start_s, end_s = (min(max(at, 0), MAX_S) for at in (-(-start_ms // 1000), end_ms // 1000))
    asked = DeletionRequest(tenant.org_id, metrics, start_s, max(start_s, end_s), p.flag(given, "dry_run"))
    try:
        result = await context.deletion_threads.run(context.delete, asked)
    except DeletionBusyError as e:  # the one of the threads alone: a context has its own errors
        raise TooMany(str(e)) from None
    return answer(_shown(result), infos=_notes(asked, result))


async def clean_tombstones(request: web.Request) -> web.Response:
    """Answer that nothing is left to clean: deleted rows are gone at once."""
    _allowed(request)
    return web.Response(status=204)


async def snapshot(request: web.Request) -> web.Response:
    """Tell where snapshots are made."""
    _allowed(request)
    raise ExecutionError(_SNAPSHOT)


def _allowed(request: web.Request) -> tuple[HttpContext, Tenant]:
    """Return the tenant. Raises AdminDisabled, Unauthorized, Forbidden."""
    context = request.app[CONTEXT]
    if not context.settings.admin_api:
        raise AdminDisabled("admin APIs disabled: expected shim.admin_api = true")
    return context, tenant_of(request)


def _found(
    context: HttpContext, tenant: Tenant, given: p.Params, start_ms: int, end_ms: int
) -> list[MetricSeries]:
    sets = matcher_sets(given, context.settings.max_query_bytes)
    return find_series(context.explorer.catalog, tenant, sets, start_ms, end_ms)


def _shown(result: DeletionResult) -> dict[str, Any]:
    end = None if result.end_s == MAX_S else result.end_s
    return {"series": result.series, "rows": result.rows, "start": result.start_s, "end": end}


def _notes(asked: DeletionRequest, result: DeletionResult) -> list[str]:
    """Return a note if the range was cut to whole buckets."""
    if (result.start_s, result.end_s) == (asked.start_s, asked.end_s):
        return []
    deleted, wanted = (f"{one.start_s} to {one.end_s}" for one in (result, asked))
    return [f"deleted is {deleted}, not {wanted}: whole buckets of the finest rows that are left"]
