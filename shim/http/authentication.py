"""Who is let in: the credential of a request and its right, looked at before any handler runs.

Owns which paths are open. Everything else asks for a credential in token mode, and for the proxy's sign in
header mode, so that a new endpoint does, too; whose data a handler sees is decided by `tenant_of`.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from indexer.access.grants import AccessError, CheckingError, ForbiddenError, Right
from indexer.http.server import certificate_of
from shim.http.context import CONTEXT, GRANT
from shim.http.responses import Handler
from shim.model.errors import Forbidden, QueryError, Unauthorized, Unavailable

#: Paths that show no data and say nothing about the process but that it runs.
OPEN: Final = frozenset({"/", "/graph", "/ui/{file}", "/-/healthy", "/-/ready"})
METRICS: Final = "/metrics"
#: Paths of the operator, which need the right "operator" alone.
OPERATORS: Final = frozenset({METRICS, "/-/reload"})
#: Paths under it delete data, of the credential's tenant, and need the right "admin".
ADMIN_PATHS: Final = "/api/v1/admin/"


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests without a right to the path. Raises Unauthorized, Forbidden, Unavailable."""
    context = request.app[CONTEXT]
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else ""
    is_open = not path or path in OPEN or (path == METRICS and context.settings.metrics_open)
    if (
        is_open or request.method == "OPTIONS"
    ):  # browsers send it without credentials, to ask for the allowed methods
        return await handler(request)
    certificate = certificate_of(request)
    if context.proxy.known:
        context.proxy.require(request.headers, certificate)
    if context.settings.tenancy.mode == "token":
        try:
            grant = await context.authenticator.grant(
                request.headers.getall("Authorization", ()), certificate
            )
            if path in OPERATORS:
                grant.require_operator()
            else:
                grant.require(Right.ADMIN if path.startswith(ADMIN_PATHS) else Right.QUERY)
        except AccessError as e:
            raise _query_error(e) from None
        request[GRANT] = grant
    return await handler(request)


def _query_error(error: AccessError) -> QueryError:
    match error:
        case ForbiddenError():
            return Forbidden(str(error))
        case CheckingError():
            return Unavailable(str(error))
        case _:
            return Unauthorized(str(error))
