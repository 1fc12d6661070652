"""`/api/v1/query` and `/api/v1/query_range`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from shim.answer import Answer, QueryOptions
from shim.errors import BadData
from shim.http import params as p
from shim.http.context import CONTEXT, Context
from shim.http.encode import encode
from shim.http.request import params_of, tenant_of
from shim.http.respond import TRUNCATED, success
from shim.values import Scalar, Vector

_PREFIX = 'invalid parameter "query": '
#: Points of an answer that is written here, in the event loop: some tenths of a millisecond.
_AT_ONCE_POINTS: Final = 1_000


async def instant(request: web.Request) -> web.Response:
    """The value of a query at one time."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    limit = p.limit(given)
    at_ms = p.time_ms(given, "time", context.now_ms())
    options = _options(given, context, limit)
    query = given.get("query")
    return await _run(context, options, lambda: context.engine.instant(tenant, query, at_ms, options))


async def over_range(request: web.Request) -> web.Response:
    """The values of a query on a grid of times."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    given = await params_of(request)
    limit = p.limit(given)
    grid = p.grid(given, context.settings.max_points)
    options = _options(given, context, limit)
    query = given.get("query")
    return await _run(context, options, lambda: context.engine.range(tenant, query, grid, options))


def _options(given: p.Params, context: Context, limit: int) -> QueryOptions:
    return QueryOptions(
        timeout_s=p.timeout_s(given, context.settings.timeout_s),
        limit=limit,
        lookback_ms=p.lookback_ms(given),
        granularity_s=p.granularity_s(given),
        explain=p.flag(given, "explain"),
        nocache=p.flag(given, "nocache"),
        stats=bool(given.get("stats")),
    )


async def _run(context: Context, options: QueryOptions, ask: Callable[[], Awaitable[Answer]]) -> web.Response:
    asked = time.perf_counter()
    async with context.turns.turn(options.timeout_s):
        began = time.perf_counter()
        try:
            found = await ask()
        except BadData as e:
            raise BadData(str(e) if str(e).startswith("invalid parameter") else _PREFIX + str(e)) from None
        evaluated = time.perf_counter()
        if _is_small(found):
            encoded = encode(found, options.limit)
        else:
            encoded = await context.blocking(encode, found, options.limit)
    warnings = list(found.notes.warnings)
    if encoded.truncated:
        warnings.append(TRUNCATED)
        context.metrics.truncated.labels("query").inc()
    data = b'{"resultType":"%b","result":%b' % (encoded.result_type.encode(), encoded.result)
    if options.stats:
        data += b',"stats":' + msgspec.json.encode(_stats(found, asked, began, evaluated))
    return success(data + b"}", warnings=warnings, infos=found.notes.infos, explain=found.explain)


def _is_small(found: Answer) -> bool:
    """Whether to write the answer takes less than to hand it to a thread would."""
    value = found.value
    if isinstance(value, Vector) and value.histograms:
        return False
    return isinstance(value, Vector | Scalar) and value.values.size <= _AT_ONCE_POINTS


def _stats(found: Answer, asked: float, began: float, evaluated: float) -> dict[str, Any]:
    """Prometheus' fields, in seconds; what the engine measured itself goes over what is measured here."""
    now = time.perf_counter()
    timings = {
        "evalTotalTime": evaluated - began,
        "resultSortTime": now - evaluated,
        "queryPreparationTime": 0.0,
        "innerEvalTime": evaluated - began,
        "execQueueTime": began - asked,
        "execTotalTime": now - asked,
    }
    samples = {"totalQueryableSamples": 0, "peakSamples": 0}
    own = dict(found.stats or {})
    return {
        "timings": timings | dict(own.pop("timings", {})),
        "samples": samples | dict(own.pop("samples", {})),
        **own,
    }
