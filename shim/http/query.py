"""`/api/v1/query` and `/api/v1/query_range`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from shim.engine.api import OnSubmitted, QueryOptions, QueryResult
from shim.http import params as p
from shim.http.context import CONTEXT, HttpContext
from shim.http.json_encoder import encode
from shim.http.request import params_of, tenant_of
from shim.http.responses import TRUNCATED, json_response, success
from shim.model.errors import BadData
from shim.model.tenancy import Tenant
from shim.model.values import Scalar, Vector

_PREFIX = 'invalid parameter "query": '
#: Points of an answer that is written here, in the event loop: some tenths of a millisecond.
_AT_ONCE_POINTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Clock:
    """When a query came, had its turn, and was evaluated (time.perf_counter())."""

    asked_s: float
    began_s: float
    evaluated_s: float


async def instant(request: web.Request) -> web.Response:
    """Answer with the value of a query at one time."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    limit = p.limit(given)
    at_ms = p.time_ms(given, "time", context.now_ms())
    options = _options(given, context, limit)
    query = given.get("query")
    return await _run(
        context,
        tenant,
        options,
        lambda begun: context.engine.instant(tenant, query, at_ms, options, begun),
    )


async def over_range(request: web.Request) -> web.Response:
    """Answer with the values of a query on a grid of times."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    limit = p.limit(given)
    grid = p.grid(given, context.settings.max_points)
    options = _options(given, context, limit)
    query = given.get("query")
    return await _run(
        context, tenant, options, lambda begun: context.engine.range(tenant, query, grid, options, begun)
    )


def _options(given: p.Params, context: HttpContext, limit: int) -> QueryOptions:
    return QueryOptions(
        timeout_s=p.timeout_s(given, context.settings.timeout_s),
        limit=limit,
        lookback_ms=p.lookback_ms(given),
        counter_lookback_ms=p.counter_lookback_ms(given),
        granularity_s=p.granularity_s(given),
        explain=p.flag(given, "explain"),
        nocache=p.flag(given, "nocache"),
        classic=p.classic(given),
        stats=bool(given.get("stats")),
    )


async def _run(
    context: HttpContext,
    tenant: Tenant,
    options: QueryOptions,
    ask: Callable[[OnSubmitted], Awaitable[QueryResult]],
) -> web.Response:
    asked = time.perf_counter()
    async with context.turns.turn(options.timeout_s, tenant.org_id) as turn:
        began = time.perf_counter()
        try:
            found = await ask(turn.lasts)
        except BadData as e:
            raise BadData(str(e) if str(e).startswith("invalid parameter") else _PREFIX + str(e)) from None
        evaluated = time.perf_counter()
        clock = _Clock(asked, began, evaluated)
        if _is_small(found):
            body, truncated = _written(found, options, clock)
        else:
            body, truncated = await context.blocking(_written, found, options, clock)
    if truncated:
        context.metrics.truncated.labels("query").inc()
    return json_response(body)


def _written(found: QueryResult, options: QueryOptions, clock: _Clock) -> tuple[bytes, bool]:
    """Return the body of the answer, and whether a limit cut it."""
    encoded = encode(found, options.limit)
    warnings = list(found.notes.warnings)
    if encoded.truncated:
        warnings.append(TRUNCATED)
    data = [b'{"resultType":"%b","result":' % encoded.result_type.encode(), *encoded.parts]
    if options.stats:
        data.append(b',"stats":' + msgspec.json.encode(_stats(found, clock)))
    data.append(b"}")
    body = success(data, warnings=warnings, infos=found.notes.infos, explain=found.explain)
    return body, encoded.truncated


def _is_small(found: QueryResult) -> bool:
    """Return whether writing the answer takes less time than handing it to a thread."""
    value = found.value
    if isinstance(value, Vector) and value.histograms:
        return False
    return isinstance(value, Vector | Scalar) and value.values.size <= _AT_ONCE_POINTS


def _stats(found: QueryResult, clock: _Clock) -> dict[str, Any]:
    """Return Prometheus' fields in seconds; the engine's own times override those measured here."""
    now = time.perf_counter()
    timings = {
        "evalTotalTime": clock.evaluated_s - clock.began_s,
        "resultSortTime": now - clock.evaluated_s,
        "queryPreparationTime": 0.0,
        "innerEvalTime": clock.evaluated_s - clock.began_s,
        "execQueueTime": clock.began_s - clock.asked_s,
        "execTotalTime": now - clock.asked_s,
    }
    samples = {"totalQueryableSamples": 0, "peakSamples": 0}
    own = dict(found.stats or {})
    return {
        "timings": timings | dict(own.pop("timings", {})),
        "samples": samples | dict(own.pop("samples", {})),
        **own,
    }
