"""Requests to indexers that are other processes. Blocks: call it in a thread."""

from __future__ import annotations

import http.client
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from agent.net.tls import client_contexts
from agent.runtime.logs import Log
from agent.settings import is_one_line
from shim.settings import IndexersSettings

if TYPE_CHECKING:
    import ssl

_MAX_ANSWER_BYTES: Final = 64 << 10


class IndexerAnswer(NamedTuple):
    """The status and body of an answer. `time_s`: the middle of the second that its `Date` names."""

    status: int
    body: bytes
    time_s: float | None = None


class IndexerClient:
    """Thread-safe. Raises TlsError for certificates that cannot be used."""

    def __init__(self, settings: IndexersSettings) -> None:
        self.urls = tuple(settings.urls)
        self._settings = settings
        https = any(url.startswith("https://") for url in settings.urls)
        self._tls = client_contexts("shim.indexers.tls", settings.tls, Log()) if https else None

    def ask(
        self,
        url: str,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        key: str = "",
        timeout_s: float,
        max_bytes: int = _MAX_ANSWER_BYTES,
    ) -> IndexerAnswer:
        """Ask one indexer; `key` is the Idempotency-Key. Raises OSError, HTTPException, ValueError."""
        parts = urlsplit(url)
        tls = self._tls.current() if self._tls else None
        connection = _connection(parts.hostname or "", parts.port, tls, timeout_s)
        headers = self._headers()
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key:
            headers["Idempotency-Key"] = key
        try:
            connection.request(method, f"{parts.path.rstrip('/')}{path}", body, headers)
            response = connection.getresponse()
            found = response.read(max_bytes)
            return IndexerAnswer(response.status, found, _time_s(response.getheader("Date")))
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        token = self._settings.token
        if self._settings.token_file:
            token = Path(self._settings.token_file).read_text().strip()
        if not token:
            return {}
        if not is_one_line(token):
            raise ValueError("token: expected one line of text")
        return {"Authorization": f"Bearer {token}"}


def _time_s(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() + 0.5 if date else None
    except ValueError:
        return None


def _connection(
    host: str, port: int | None, tls: ssl.SSLContext | None, timeout_s: float
) -> http.client.HTTPConnection:
    if tls is None:
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=tls)
