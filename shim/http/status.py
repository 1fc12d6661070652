"""The server's own status: health, build, size; and well-formed empty lists for absent features.

`/api/v1/status/flags` and the ruler's paths stay 404: after a 200 there, Grafana assumes Thanos or Mimir.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from agent.runtime.program_version import VERSION_HEADER, program_version
from indexer.clickhouse.store import StoreError
from shim.http import params as p
from shim.http.context import CONTEXT, GRANT
from shim.http.ingest_limits import NOT_REACHED
from shim.http.request import params_of, tenant_of
from shim.http.responses import answer, plain
from shim.model.errors import BadData
from shim.model.messages import quote

#: The Prometheus whose API this is; Grafana picks features by it.
PROMETHEUS_VERSION: Final = "3.5.0"
_DAY_MS: Final = 86_400_000


async def healthy(_: web.Request) -> web.Response:
    """Answer that the process runs."""
    return plain("Meterhouse is Healthy.\n")


async def ready(request: web.Request) -> web.Response:
    """Answer 200 only when the store answers."""
    context = request.app[CONTEXT]
    try:
        await context.blocking(context.ping)
    except StoreError:
        return plain("Service Unavailable: the store does not answer\n", 503)
    found = plain("Meterhouse is Ready.\n")
    found.headers[VERSION_HEADER] = program_version()
    return found


async def own_metrics(request: web.Request) -> web.Response:
    """Answer with the shim's own metrics."""
    body = generate_latest(request.app[CONTEXT].metrics.registry)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def build_info(_: web.Request) -> web.Response:
    """Answer with the versions, of Prometheus' API and our own."""
    return answer(
        {
            "version": PROMETHEUS_VERSION,
            "revision": program_version(),
            "branch": "main",
            "buildUser": "",
            "buildDate": "",
            "goVersion": f"python{platform.python_version()}",
            "application": "Meterhouse",
        }
    )


async def runtime_info(request: web.Request) -> web.Response:
    """Answer with facts about the running process."""
    context = request.app[CONTEXT]
    tenant_of(request)
    started = datetime.fromtimestamp(context.started_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    return answer(
        {
            "startTime": started,
            "CWD": "",  # no tenant needs to know where the server runs
            "reloadConfigSuccess": True,
            "lastConfigTime": started,
            "corruptionCount": 0,
            "goroutineCount": threading.active_count(),
            "GOMAXPROCS": os.cpu_count() or 1,
            "GOGC": "",
            "GODEBUG": "",
            "storageRetention": f"{context.retention().catalog_days}d",
        }
    )


async def tsdb(request: web.Request) -> web.Response:
    """Answer with today's cardinality; `limit` entries of each list, 10 by default."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    limit = p.limit(await params_of(request)) or 10
    now_ms = context.now_ms()
    async with context.turns.turn(context.settings.timeout_s, tenant.org_id):
        size = await context.blocking(
            context.explorer.cardinality, tenant, min(limit, 10_000), now_ms - _DAY_MS, now_ms
        )
        limits = await context.blocking(context.limits, tenant.org_id) if context.limits is not None else {}
    return answer(
        {
            "headStats": {
                "numSeries": size.series,
                "numLabelPairs": size.label_pairs,
                "chunkCount": 0,
                "minTime": now_ms // _DAY_MS * _DAY_MS - _DAY_MS,
                "maxTime": now_ms,
            },
            "seriesCountByMetricName": _named(size.series_by_metric),
            "labelValueCountByLabelName": _named(size.values_by_label),
            "memoryInBytesByLabelName": _named(size.bytes_by_label),
            "seriesCountByLabelValuePair": _named(size.series_by_pair),
        }
        | _limits(limits)
    )


def _limits(limits: Mapping[str, int]) -> dict[str, Any]:
    """Return limits that held back rows or that an indexer did not tell; else the keys are Prometheus'."""
    counts = (count for name, count in limits.items() if name.endswith("LimitedRows") or name == NOT_REACHED)
    return {"limits": limits} if any(counts) else {}


def _named(pairs: Any) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in pairs]


async def config(request: web.Request) -> web.Response:
    """Answer without the configuration, which Prometheus shows: ours may hold tokens."""
    tenant_of(request)
    return answer({"yaml": ""})


async def wal_replay(_: web.Request) -> web.Response:
    """Answer that no replay is pending."""
    return answer({"min": 0, "max": 0, "current": 0})


# ---- absent features


async def alertmanagers(request: web.Request) -> web.Response:
    """Answer with the Alertmanagers that alerts are sent to; none is dropped, as no relabelling is there."""
    tenant_of(request)
    urls = request.app[CONTEXT].alertmanagers() if sees_server(request) else ()
    return answer({"activeAlertmanagers": [{"url": url} for url in urls], "droppedAlertmanagers": []})


async def targets(request: web.Request) -> web.Response:
    """Answer with no scrape targets."""
    tenant_of(request)
    state = (await params_of(request)).get("state").lower()
    if state not in ("", "any", "active", "dropped"):
        raise BadData(f"unknown state {quote(state)}")
    return answer({"activeTargets": [], "droppedTargets": []})


async def target_metadata(request: web.Request) -> web.Response:
    """Answer with no metadata of targets."""
    tenant_of(request)
    return answer([])


async def scrape_pools(request: web.Request) -> web.Response:
    """Answer with no scrape pools."""
    tenant_of(request)
    return answer({"scrapePools": []})


async def notifications(request: web.Request) -> web.Response:
    """Answer with the problems of this server."""
    tenant_of(request)
    notices = request.app[CONTEXT].notices.all() if sees_server(request) else ()
    return answer(
        [
            {
                "text": notice.text,
                "date": datetime.fromtimestamp(notice.since_s, UTC).isoformat().replace("+00:00", "Z"),
                "active": True,
            }
            for notice in notices
        ]
    )


def sees_server(request: web.Request) -> bool:
    """Return whether facts of the operator may be shown: to the only tenant, or to an operator."""
    if request.app[CONTEXT].settings.tenancy.mode == "single":
        return True
    grant = request.get(GRANT)
    return grant is not None and grant.operates


async def drop_series(_: web.Request) -> web.Response:
    """Refuse DELETE /api/v1/series with a reason, as Prometheus does."""
    return web.json_response(
        {"status": "error", "errorType": "internal", "error": "not implemented"}, status=500
    )
