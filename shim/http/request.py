"""A request's parameters and its tenant."""

from __future__ import annotations

from collections.abc import Sequence

import promql_parser as pp
from aiohttp import web

from shim.errors import BadData
from shim.http.context import CONTEXT
from shim.http.params import Params, invalid
from shim.matching import Matcher
from shim.plan.build import matchers_of
from shim.promql.complain import selector_complaint
from shim.promql.parse import check_size, parse
from shim.tenancy import Tenant

_FORM = "application/x-www-form-urlencoded"
_EMPTY = "match[] must contain at least one non-empty matcher"


def tenant_of(request: web.Request) -> Tenant:
    """Whose data the request may see. Raises Unauthorized."""
    return request.app[CONTEXT].gate.tenant(request.headers)


async def params_of(request: web.Request) -> Params:
    """The parameters: those of a POST's form before those of the URL, as Go's Request.Form has them."""
    values: dict[str, list[str]] = {}
    if request.method == "POST" and request.content_type == _FORM:
        for name, value in (await request.post()).items():
            if isinstance(value, str):
                values.setdefault(name, []).append(value)
    for name, value in request.query.items():
        values.setdefault(name, []).append(value)
    return Params(values)


def matcher_sets(params: Params) -> Sequence[tuple[Matcher, ...]]:
    """Every `match[]` as its matchers. Raises BadData."""
    return [_selector(text) for text in params.all("match[]")]


def _selector(text: str) -> tuple[Matcher, ...]:
    """Source: Prometheus 3.x ParseMetricSelector, parseMatchersParam."""
    try:
        check_size(text)
        if (found := selector_complaint(text)) is not None:
            raise BadData(found)
        tree = parse(text)
        assert isinstance(tree, pp.VectorSelector)
        return matchers_of(tree)
    except BadData as e:
        raise invalid("match[]", _EMPTY if "at least one non-empty matcher" in str(e) else str(e)) from None
