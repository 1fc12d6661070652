"""`/{dataset}/{entity}/subscriptions`: makes, removes and lists subscriptions, and shows their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from aiohttp import web

from indexer.access.grants import ForbiddenError, Right
from indexer.subscriptions.messages_of_subscriptions import Subscription
from shim.http import params as p
from shim.http.context import CONTEXT, GRANT
from shim.http.request import in_slot, params_of, tenant_of
from shim.http.responses import json_response
from shim.http.snql import PATH as DATASET
from shim.http.snql import asked_of, body_of, ids_of, text_of
from shim.model.errors import BadData, Forbidden
from shim.subscriptions.subscription_book import MAX_RESULTS, SubscriptionBook, public_id
from shim.subscriptions.validators import Wanted

PATH: Final = f"{DATASET}/{{entity}}/subscriptions"
ONE: Final = f"{PATH}/{{partition}}/{{uuid}}"
_encoder: Final = msgspec.json.Encoder()
_ACCEPTED: Final = 202
_DEFAULT_RESULTS: Final = 100


async def subscribe(request: web.Request) -> web.Response:
    """Make a subscription."""
    context, tenant = request.app[CONTEXT], tenant_of(request)
    require_write(request)
    body = await body_of(request)
    asked = replace(asked_of(request, context, tenant, body), from_s=None, to_s=None)
    project = ids_of(
        "project_id", _number(body, "project_id") if body.get("project_id") is not None else None
    )
    wanted = Wanted(
        request.match_info["entity"],
        text_of(body, "query"),
        _number(body, "time_window"),
        _number(body, "resolution"),
        replace(asked, projects=project or asked.projects),
    )
    webhook = body.get("webhook") or ""
    if not isinstance(webhook, str):
        raise BadData("webhook: expected a URL")
    made = await in_slot(context, tenant, lambda: _book(request).add(wanted, webhook))
    answer = {"subscription_id": public_id(made)}
    if secret := _book(request).secret(made):
        answer["webhook_secret"] = secret
    response = json_response(_encoder.encode(answer))
    response.set_status(_ACCEPTED)
    return response


async def unsubscribe(request: web.Request) -> web.Response:
    """Remove a subscription."""
    tenant = tenant_of(request)
    require_write(request)

    def remove() -> None:
        _book(request).remove(_found(request))

    await in_slot(request.app[CONTEXT], tenant, remove)
    return web.Response(text="ok", status=_ACCEPTED)


async def listed(request: web.Request) -> web.Response:
    """List the tenant's subscriptions of an entity."""
    tenant, of = tenant_of(request), request.match_info
    found = await in_slot(
        request.app[CONTEXT], tenant, lambda: _book(request).of_entity(tenant, of["dataset"], of["entity"])
    )
    return json_response(_encoder.encode({"data": [_shown(one) for one in found]}))


async def results(request: web.Request) -> web.Response:
    """Show a subscription's last results, the latest first."""
    tenant = tenant_of(request)
    limit = p.limit(await params_of(request)) or _DEFAULT_RESULTS
    if limit > MAX_RESULTS:
        raise BadData(f"limit = {limit}: expected at most {MAX_RESULTS}")
    found = await in_slot(
        request.app[CONTEXT], tenant, lambda: _book(request).results(_found(request), limit)
    )
    return json_response(b'{"data":[%b]}' % ",".join(found).encode())


def _book(request: web.Request) -> SubscriptionBook:
    return request.app[CONTEXT].subscriptions


def _found(request: web.Request) -> Subscription:
    """Return the subscription that the path names. Raises NotFound, StoreError."""
    of = request.match_info
    id_ = f"{of['partition']}/{of['uuid']}"
    return _book(request).find(tenant_of(request), of["dataset"], of["entity"], id_)


def require_write(request: web.Request) -> None:
    """Raise Forbidden for a credential without the right to write."""
    grant = request.get(GRANT, None)
    if grant is not None:
        try:
            grant.require(Right.WRITE)
        except ForbiddenError as e:
            raise Forbidden(str(e)) from None


def _number(body: Mapping[str, Any], name: str) -> int:
    """Read a whole number, which a form has as text. Raises BadData."""
    value = body.get(name)
    try:
        if isinstance(value, str):
            return p.integer(value)
        if type(value) is int:
            return value
    except ValueError:
        pass
    raise BadData(f"{name}: expected a whole number")


def _shown(of: Subscription) -> dict[str, Any]:
    webhook = {"webhook": of.webhook} if of.webhook else {}
    return webhook | {
        "subscription_id": public_id(of), "project_id": of.project, "query": of.query,
        "time_window": of.time_window_s, "resolution": of.resolution_s, "since": of.since_s,
    }  # fmt: skip
