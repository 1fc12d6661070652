"""Answers in JSON, and the grant that a request holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from indexer.access.grants import EVERYTHING, Grant

#: Where a request holds the grant of its credential.
GRANT: Final = web.RequestKey("grant", Grant)


def grant_of(request: web.Request) -> Grant:
    """Return the grant of a request; it covers everything where no credential is asked for."""
    grant: Grant = request.get(GRANT, EVERYTHING)
    return grant


def json_answer(value: object, status: int = 200) -> web.Response:
    """Return an answer with a JSON document."""
    return web.Response(body=msgspec.json.encode(value), content_type="application/json", status=status)


def error_answer(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer with the text of an error."""
    response = json_answer({"error": text}, status)
    response.headers.update(headers or {})
    return response
