"""`/{dataset}/snql`: Snuba's endpoint, with its request and its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from indexer.access.grants import ID_EXPECTED, MAX_ID
from shim.engine.api import QueryOptions
from shim.http import params as p
from shim.http.context import CONTEXT, HttpContext
from shim.http.request import params_of, tenant_of
from shim.http.responses import json_response
from shim.model.errors import BadData
from shim.model.tenancy import Tenant
from shim.snql.answering import LanguageAnswer
from shim.snql.lower import Asked

#: Where the languages are asked.
PATH: Final = "/{dataset:metrics|generic_metrics}"
_encoder: Final = msgspec.json.Encoder()


async def snql(request: web.Request) -> web.Response:
    """Answer a query in SnQL."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    body = await body_of(request)
    query = text_of(body, "query")
    asked = asked_of(request, context, tenant, body)
    options = options_of(body, context)
    async with context.turns.turn(options.timeout_s, tenant.org_id) as turn:
        found = await context.languages.snql(query, asked, options, turn.lasts, dry_run=flag(body, "dry_run"))
        return await context.blocking(
            written, found, debug=flag(body, "debug") or flag(body, "dry_run"), explain=flag(body, "explain")
        )


async def body_of(request: web.Request) -> Mapping[str, Any]:
    """Read the request: a JSON object, a form, or the URL's parameters. Raises BadData."""
    if request.method == "POST" and not request.content_type.startswith("application/x-www-form-urlencoded"):
        raw = await request.read()
        try:
            body = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise BadData(f"the body: {e}: expected a JSON object") from None
        if not isinstance(body, dict):
            raise BadData("the body: expected a JSON object")
        return body
    given = await params_of(request)
    body = {name: values[0] for name, values in given.values.items() if values}
    for name in ("tenant_ids", "mql_context"):
        if name in body:
            try:
                body[name] = json.loads(body[name])
            except (ValueError, RecursionError):
                raise BadData(f"{name}: expected a JSON object") from None
    return body


def asked_of(request: web.Request, context: HttpContext, tenant: Tenant, body: Mapping[str, Any]) -> Asked:
    """Read the parts of a request other than its query. Raises BadData."""
    tenants = body.get("tenant_ids") or {}
    if not isinstance(tenants, dict):
        raise BadData("tenant_ids: expected an object with organization_id and project_id")
    dataset = request.match_info["dataset"]
    if body.get("dataset", dataset) != dataset:
        raise BadData(f"dataset = {body['dataset']!r}: expected {dataset}, which the path names")
    org = tenants.get("organization_id", tenants.get("org_id"))
    return Asked(
        tenant,
        context.now_ms() // 1000,
        dataset,
        ids_of("tenant_ids.organization_id", org),
        ids_of("tenant_ids.project_id", tenants.get("project_id")),
        time_of(body, "start"),
        time_of(body, "end"),
    )


def ids_of(name: str, value: Any) -> tuple[int, ...] | None:
    """Read an id or a list of ids; None for none. Raises BadData."""
    if value is None:
        return None
    ids = value if isinstance(value, list) else [value]
    wrong = next((i for i in ids if not (type(i) is int and 1 <= i <= MAX_ID)), None)
    if not ids or wrong is not None:
        raise BadData(f"{name} = {str(wrong)[:40] if ids else 'nothing'}: {ID_EXPECTED}")
    return tuple(ids)


def time_of(body: Mapping[str, Any], name: str) -> int | None:
    """Read a time in Unix seconds; None for none. Raises BadData."""
    value = body.get(name)
    if value is None or value == "":
        return None
    text = str(value)
    if isinstance(value, str) and "T" in text and not text.endswith("Z") and "+" not in text:
        text += "Z"
    try:
        seconds = p.parse_time_ms(text) // 1000
    except ValueError:
        raise BadData(f"{name} = {text[:40]!r}: expected Unix seconds or RFC 3339") from None
    if not p.MIN_TIME_MS <= seconds * 1000 <= p.MAX_TIME_MS:
        raise BadData(f"{name} = {text[:40]!r}: expected a time from 1970 to 2106")
    return seconds


def options_of(body: Mapping[str, Any], context: HttpContext) -> QueryOptions:
    """Read the limits of the request. Raises BadData."""
    timeout = body.get("timeout", "")
    given = p.Params({"timeout": (str(timeout),)})
    return QueryOptions(timeout_s=p.timeout_s(given, context.settings.timeout_s))


def text_of(body: Mapping[str, Any], *names: str) -> str:
    """Read the query's text. Raises BadData."""
    for name in names:
        if name in body:
            if not isinstance(body[name], str):
                raise BadData(f"{name}: expected a text")
            return str(body[name])
    raise BadData(f"no {' or '.join(names)}: expected the text of a query")


def flag(body: Mapping[str, Any], name: str) -> bool:
    """Return whether a switch is on."""
    value = body.get(name, False)
    return value.lower() not in ("", "0", "false") if isinstance(value, str) else bool(value)


def written(found: LanguageAnswer, *, debug: bool, explain: bool) -> web.Response:
    """Write the answer."""
    body: dict[str, Any] = {"data": found.data, "meta": found.meta}
    if found.totals is not None:
        body["totals"] = found.totals
    body["profile"] = {
        "granularity": found.granularity_s, "statements": len(found.statements), "rows": found.rows_read,
        "infos": found.infos,
    }  # fmt: skip
    if debug:
        body["sql"] = ";\n".join(found.statements)
    if explain:
        body["explain"] = {"plan": found.plan, "statements": found.statements}
    return json_response(_encoder.encode(body))
