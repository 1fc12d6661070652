"""A small client of the HTTP API for the command line: standard library only."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any


class AskError(Exception):
    """The question was not answered; the text says why, in the server's words when it gave any."""


def ask(url: str, path: str, parameters: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
    """POST to `url` + `path` and return the JSON document. Raises AskError."""
    body = urllib.parse.urlencode(parameters).encode()
    if not url.startswith(("http://", "https://")):
        raise AskError(f"{url} is no http address")
    request = urllib.request.Request(url.rstrip("/") + path, data=body, headers=dict(headers))  # noqa: S310 - http only, see above
    try:
        with urllib.request.urlopen(request, timeout=150) as response:  # noqa: S310
            data = response.read()
    except urllib.error.HTTPError as e:
        raise AskError(_reason(e.code, e.read())) from None
    except (urllib.error.URLError, OSError) as e:
        raise AskError(f"{url}: {getattr(e, 'reason', e)}; is `meterhouse up` running?") from None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise AskError(f"{url}: this is no Prometheus API: {data[:80]!r}") from None
    if not isinstance(document, dict) or "data" not in document:
        raise AskError(f"{url}: this is no Prometheus API: {data[:80]!r}")
    return document


def _reason(status: int, body: bytes) -> str:
    try:
        document = json.loads(body)
        return f"{document['errorType']}: {document['error']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"HTTP {status}: {body[:200].decode(errors='replace').strip()}"
