"""A small client of the HTTP API for the command line: standard library only."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

from agent.cli.common import DEFAULT_API_URL
from shim.cli.matrix_stream import MatrixError, series_of

_CHUNK_BYTES: Final = 65_536
_API_PATH: Final = re.compile(r"/api/v1(?:/.*)?$")


class AskError(Exception):
    """The question was not answered; the text says why, in the server's words when it gave any."""


def ask(
    url: str,
    path: str,
    parameters: Mapping[str, str] | Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    method: Literal["GET", "POST"] = "POST",
    timeout_s: float = 150,
) -> dict[str, Any]:
    """Ask `url` + `path` and return the JSON document. Raises AskError.

    `timeout_s`: how long the server may be silent.
    """
    with _answered(url, path, parameters, headers, method, timeout_s) as response:
        data = response.read()
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise AskError(_foreign(url)) from None
    if not isinstance(document, dict) or "data" not in document:
        raise AskError(_foreign(url))
    return document


def ask_series(
    url: str,
    path: str,
    parameters: Mapping[str, str],
    headers: Mapping[str, str],
    timeout_s: float = 150,
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each series of an answer while it arrives, and the size of its text. Raises AskError.

    To leave the rest unread, close the generator: that ends the connection.
    """
    with _answered(url, path, parameters, headers, "POST", timeout_s) as response:
        try:
            yield from series_of(iter(lambda: response.read1(_CHUNK_BYTES), b""))
        except MatrixError as e:
            raise AskError(f"{url}: {e}") from None


@contextmanager
def _answered(
    url: str,
    path: str,
    parameters: Mapping[str, str] | Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    method: Literal["GET", "POST"],
    timeout_s: float,
) -> Iterator[http.client.HTTPResponse]:
    """Ask, and give the answer to be read. Raises AskError, also where reading fails."""
    encoded = urllib.parse.urlencode(parameters)
    body = encoded.encode() if method == "POST" else None
    path = path if body is not None else f"{path}?{encoded}"
    if not url.startswith(("http://", "https://")):
        raise AskError(f"{url!r}: expected a URL such as {DEFAULT_API_URL}")
    if _API_PATH.search(url.rstrip("/")):
        base = _API_PATH.sub("", url.rstrip("/"))
        raise AskError(f"{url}: expected the base URL, without /api/v1: {base}")
    try:
        # The scheme is http or https, see above.
        request = urllib.request.Request(url.rstrip("/") + path, data=body, headers=dict(headers))  # noqa: S310
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310
            yield response
    except urllib.error.HTTPError as e:
        raise AskError(_refusal(url, e.code, e.read())) from None
    except urllib.error.URLError as e:
        raise AskError(_unreachable(url, str(e.reason))) from None
    except http.client.BadStatusLine as e:
        # A connection that ends before an answer is one, too.
        raise AskError(_unreachable(url, str(e)) if isinstance(e, OSError) else _foreign(url)) from None
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise AskError(_unreachable(url, str(e))) from None


def _unreachable(url: str, reason: str) -> str:
    """Describe a connection that failed, with its likely cause."""
    if "WRONG_VERSION_NUMBER" in reason or "wrong version number" in reason:
        return f"{url}: the server speaks http, not https: try http{url.removeprefix('https')}"
    return f"{url}: {reason}; is `meterhouse up` running?"


def _refusal(url: str, status: int, body: bytes) -> str:
    """Return the server's words for an error; of a server that is not Prometheus, that it is not."""
    try:
        document = json.loads(body)
        return f"{document['errorType']}: {document['error']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    text = body[:200].decode(errors="replace").strip()
    if status == 400 and "HTTPS" in text.upper():
        return f"{url}: the server speaks https: try https{url.removeprefix('http')}"
    if status in (401, 403):
        return f"HTTP {status}: {text}"
    return _foreign(url, f" (HTTP {status})")


def _foreign(url: str, more: str = "") -> str:
    port = urllib.parse.urlsplit(url).port
    hint = "" if port == 9090 else ": try the API's port, 9090 by default"
    return f"{url}: this is not a Prometheus API{more}{hint}"
