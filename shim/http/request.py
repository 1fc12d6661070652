"""A request's parameters and its tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from aiohttp import web

from shim.http.context import CONTEXT, GRANT, HttpContext
from shim.http.params import Params, fields, invalid
from shim.model.errors import BadData
from shim.model.matchers import Matcher
from shim.model.tenancy import Tenant
from shim.plan.parse import parse_selector
from shim.promql.query_size import MAX_QUERY_BYTES, size_of

T = TypeVar("T")

_FORM = "application/x-www-form-urlencoded"
#: Decoding takes some 0.1 s of CPU a MiB.
_LARGE_FORM_BYTES = 64 << 10
#: How a form names selectors, the longest last, and the characters that a byte may take in it.
_SELECTORS = (b"match[]=", b"match%5b]=", b"match[%5d=", b"match%5b%5d=")
_MAX_ENCODED = 3
_EMPTY = "match[] must contain at least one non-empty matcher"


def tenant_of(request: web.Request) -> Tenant:
    """Whose data the request may see. Raises Unauthorized, Forbidden."""
    return request.app[CONTEXT].gate.tenant(request.headers, request.get(GRANT, None))


async def params_of(request: web.Request) -> Params:
    """Return the parameters: the form of a POST or PUT first, then the URL, as in Go's Request.Form.

    A large form is decoded in the pool, in a slot of the tenant. Raises BadData, Unauthorized, TimedOut.
    """
    pairs: list[tuple[str, str]] = []
    if request.method in ("POST", "PUT") and request.content_type == _FORM:
        form = await request.read()
        if len(form) > _LARGE_FORM_BYTES:
            check_encoded_selectors(form, request.app[CONTEXT].settings.max_query_bytes)
            decode = partial(fields, form)
            pairs += await in_slot(request.app[CONTEXT], tenant_of(request), decode)
        else:
            pairs += fields(form)
    pairs += fields(request.rel_url.raw_query_string.encode(errors="surrogateescape"))
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return Params(values)


async def in_slot(context: HttpContext, tenant: Tenant, call: Callable[[], T]) -> T:
    """Run `call` in the pool when the tenant has a slot. Raises TimedOut, and the errors of `call`."""
    async with context.turns.turn(context.settings.timeout_s, tenant.org_id) as turn:
        running = context.begin(call)
        turn.lasts(running)
        return await asyncio.wrap_future(running)


def check_encoded_selectors(form: bytes, max_bytes: int) -> None:
    """Raise BadData for selectors that are too long however they are encoded; decodes nothing.

    A byte is at most three characters of a form. Equal selectors count once, as in `matcher_sets`.
    """
    parts = {part for part in form.split(b"&") if part[: len(_SELECTORS[-1])].lower().startswith(_SELECTORS)}
    if sum(map(len, parts)) > _MAX_ENCODED * max_bytes + len(parts) * len(_SELECTORS[-1]):
        raise _too_long(max_bytes)


def _too_long(max_bytes: int) -> BadData:
    reason = f"selectors are longer than {max_bytes} bytes (setting shim.max_query_bytes)"
    return invalid("match[]", reason)


def matcher_sets(params: Params, max_bytes: int = MAX_QUERY_BYTES) -> Sequence[tuple[Matcher, ...]]:
    """Parse every different `match[]`; `max_bytes` for all of them together.

    Parses: not for the event loop. Raises BadData.
    """
    texts = list(dict.fromkeys(params.all("match[]")))
    if sum(map(size_of, texts)) > max_bytes:
        raise _too_long(max_bytes)
    return [_selector(text) for text in texts]


def _selector(text: str) -> tuple[Matcher, ...]:
    """Source: Prometheus 3.x ParseMetricSelector, parseMatchersParam."""
    try:
        return parse_selector(text, max_bytes=max(size_of(text), MAX_QUERY_BYTES)).matchers  # bounded before
    except BadData as e:
        raise invalid("match[]", _EMPTY if "at least one non-empty matcher" in str(e) else str(e)) from None
