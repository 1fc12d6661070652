"""Responses: Prometheus' envelope, its errors, CORS headers and compression.

The envelope is written by hand around the data's bytes: `status`, `data`, then notes; a query's `data` has
`resultType` before `result`, as readers that stream it want.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from indexer.clickhouse.store import StoreError
from shim.http.context import CONTEXT, HttpContext
from shim.model.errors import BadData, Forbidden, InternalError, QueryError, Unauthorized, Unsupported
from shim.read.store_errors import query_error

_log: Final = logging.getLogger("shim.http")
_encoder: Final = msgspec.json.Encoder()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TRUNCATED: Final = "results truncated due to limit"
NOT_FOUND: Final = "404 page not found\n"
#: Smaller answers are not worth compressing.
_GZIP_MIN_BYTES: Final = 150
#: Larger ones are compressed in a thread.
_GZIP_THREAD_BYTES: Final = 64 << 10
#: Headers of refusals, by status.
_HEADERS: Final[dict[int, dict[str, str]]] = {
    429: {"Retry-After": "10"},
    503: {"Retry-After": "1"},
}
#: How Snuba's endpoints name errors; others have Prometheus' name.
_LANGUAGE_ERRORS: Final[dict[type[QueryError], str]] = {
    BadData: "invalid_query", Unsupported: "invalid_query",
    Unauthorized: "unauthorized", Forbidden: "forbidden",
}  # fmt: skip
_CORS: Final = {
    "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, Origin",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Expose-Headers": "Date",
}


def success(
    data: Iterable[bytes], *, warnings: Sequence[str] = (), infos: Sequence[str] = (), explain: Any = None
) -> bytes:
    """Return the envelope around data that is JSON already, in parts."""
    parts = [b'{"status":"success","data":', *data]
    for name, notes in ((b"warnings", warnings), (b"infos", infos)):
        if notes:
            parts.append(b',"%b":%b' % (name, _encoder.encode(list(notes))))
    if explain is not None:
        parts.append(b',"explain":%b' % _encoder.encode(explain))
    parts.append(b"}")
    return b"".join(parts)


def json_response(body: bytes) -> web.Response:
    """Return a response with a JSON body."""
    return web.Response(body=body, content_type="application/json")


def answer(data: Any, *, warnings: Sequence[str] = (), infos: Sequence[str] = ()) -> web.Response:
    """Return the envelope around a plain Python value."""
    return json_response(success((_encoder.encode(data),), warnings=warnings, infos=infos))


def failure(error: QueryError) -> web.Response:
    """Return the error's envelope and status."""
    body = {"status": "error", "errorType": error.error_type, "error": str(error)}
    headers = _HEADERS.get(error.status)
    return web.Response(
        body=_encoder.encode(body), content_type="application/json", status=error.status, headers=headers
    )


def language_failure(error: QueryError) -> web.Response:
    """Make the error as Snuba gives it."""
    kind = _LANGUAGE_ERRORS.get(type(error), error.error_type)
    body = {"error": {"type": kind, "message": str(error)}}
    return web.Response(
        body=_encoder.encode(body),
        content_type="application/json",
        status=error.status,
        headers=_HEADERS.get(error.status),
    )


def plain(text: str, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a response of plain text."""
    return web.Response(text=text, status=status, content_type="text/plain", headers=headers)


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors into answers, add CORS headers, count, compress."""
    context = request.app[CONTEXT]
    endpoint = _endpoint(request)
    with context.metrics.request_seconds.labels(endpoint).time():
        response = await _answered(request, handler, context)
        if isinstance(response, web.Response):
            _add_cors(request, response, context)
            await _compress(request, response, context)
    context.metrics.requests.labels(endpoint, str(response.status)).inc()
    return response


def _endpoint(request: web.Request) -> str:
    """Return the route's pattern: a label with a bounded number of values for any path."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "other"


# One clause for each kind of error.
async def _answered(  # noqa: C901
    request: web.Request, handler: Handler, context: HttpContext
) -> web.StreamResponse:
    try:
        return await handler(request)
    except QueryError as e:
        error = e
    except StoreError as e:
        error = query_error(e)
    except web.HTTPRequestEntityTooLarge:
        error = _too_large(context.settings.max_form_bytes)
    except web.RequestPayloadError:  # not in its Content-Encoding, or cut short
        return _unreadable(request, context)
    except web.HTTPNotFound:
        return plain(NOT_FOUND, 404)
    except web.HTTPMethodNotAllowed as e:
        if e.allowed_methods <= {"OPTIONS"}:  # the catch-all for OPTIONS alone knows the path
            return plain(NOT_FOUND, 404)
        return plain("Method Not Allowed\n", 405, {"Allow": ", ".join(sorted(e.allowed_methods))})
    except web.HTTPException:
        raise
    except Exception:
        # The text of an exception we did not make may hold SQL or paths: it goes to the log alone.
        _log.exception("request failed endpoint=%s", _endpoint(request))
        error = InternalError("internal error; the server's log has the details")
    context.metrics.errors.labels(error.error_type).inc()
    response = failure(error) if "dataset" not in request.match_info else language_failure(error)
    if response.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = context.authenticator.challenge
    return response


def _unreadable(request: web.Request, context: HttpContext) -> web.Response:
    """Answer and close the connection: the start of the next request is unknown."""
    request.content.feed_eof()  # aiohttp reads on otherwise, and logs the same error once more
    context.metrics.errors.labels(BadData.error_type).inc()
    response = failure(BadData("error parsing form values: the body cannot be read"))
    response.force_close()
    return response


def _too_large(max_bytes: int) -> QueryError:
    return BadData(f"error parsing form values: body is larger than {max_bytes} bytes")


def _add_cors(request: web.Request, response: web.Response, context: HttpContext) -> None:
    """Add the headers as Prometheus does: only for an Origin, and `*` when every origin is allowed."""
    origin = request.headers.get("Origin")
    if not origin:
        return
    response.headers.update(_CORS)
    response.headers.add("Vary", "Origin")
    allowed = context.settings.cors_origin
    if allowed == ".*":
        response.headers["Access-Control-Allow-Origin"] = "*"
    elif re.fullmatch(allowed, origin):
        response.headers["Access-Control-Allow-Origin"] = origin


async def _compress(request: web.Request, response: web.Response, context: HttpContext) -> None:
    body = response.body
    if not isinstance(body, bytes) or "Content-Encoding" in response.headers:
        return
    context.metrics.answer_bytes.inc(len(body))
    if len(body) < _GZIP_MIN_BYTES or not accepts_gzip(request.headers.get("Accept-Encoding", "")):
        return
    if len(body) > _GZIP_THREAD_BYTES:
        response.body = await context.blocking(gzip, body)
    else:
        response.body = gzip(body)
    response.headers["Content-Encoding"] = "gzip"
    response.headers.add("Vary", "Accept-Encoding")


def gzip(body: bytes) -> bytes:
    """Compress at level 1: it already shrinks JSON of samples 4-8 times, and CPU is the scarcest resource."""
    compressor = zlib.compressobj(level=1, wbits=31)
    return compressor.compress(body) + compressor.flush()


def accepts_gzip(header: str) -> bool:
    """Return whether an Accept-Encoding header allows gzip."""
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight) is None
    return False
