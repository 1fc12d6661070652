"""Limits of ingest for `/api/v1/status/tsdb`, asked of indexers that are other processes.

Counts of rows they held back are added up over all indexers. An indexer that does not tell is counted, so
that an answer without numbers does not look like one without limits. Blocks: call it in a thread.
"""

from __future__ import annotations

import http.client
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from agent.net.tls import client_contexts
from agent.runtime.logs import Log
from agent.settings import is_one_line
from indexer.http.paths import LIMITS
from shim.settings import IndexersSettings

if TYPE_CHECKING:
    import ssl

_log: Final = logging.getLogger("shim.limits")

#: The key of how many indexers did not tell.
NOT_REACHED: Final = "indexersNotReached"
_SUMMED: Final = "LimitedRows"
_TIMEOUT_S: Final = 2.0
_MAX_ANSWER_BYTES: Final = 64 << 10
_LOG_EVERY_S: Final = 10.0
_decoder: Final = msgspec.json.Decoder(dict[str, int])


def limits_of(settings: IndexersSettings) -> Callable[[int], Mapping[str, int]] | None:
    """Return a function that asks the indexers of the settings for an org's limits; None without indexers.

    Raises TlsError for certificates that cannot be used.
    """
    return RemoteLimits(settings) if settings.urls else None


class RemoteLimits:
    """Thread-safe."""

    def __init__(self, settings: IndexersSettings) -> None:
        self._settings = settings
        https = any(url.startswith("https://") for url in settings.urls)
        self._tls = client_contexts("shim.indexers.tls", settings.tls, Log()) if https else None
        self._logged_s = -_LOG_EVERY_S

    def __call__(self, org_id: int) -> Mapping[str, int]:
        """Return an org's limits by name; NOT_REACHED has how many indexers did not tell."""
        found: Counter[str] = Counter()
        for url in self._settings.urls:
            try:
                told = self._ask(url, org_id)
            except (OSError, http.client.HTTPException, ValueError) as e:
                found[NOT_REACHED] += 1
                self._complain(url, e)
                continue
            for name, value in told.items():
                found[name] = found[name] + value if name.endswith(_SUMMED) else max(found[name], value)
        return found

    def _ask(self, url: str, org_id: int) -> Mapping[str, int]:
        """Fetch the usage of an org from one indexer. Raises OSError, HTTPException, ValueError."""
        parts = urlsplit(url)
        connection = _connection(parts.hostname or "", parts.port, self._tls.current() if self._tls else None)
        try:
            path = f"{parts.path.rstrip('/')}{LIMITS}?org_id={org_id}"
            connection.request("GET", path, headers=self._headers())
            response = connection.getresponse()
            body = response.read(_MAX_ANSWER_BYTES)
        finally:
            connection.close()
        if response.status != 200:
            raise OSError(f"status {response.status}: expected 200")
        return _decoder.decode(body)

    def _headers(self) -> dict[str, str]:
        token = self._settings.token
        if self._settings.token_file:
            token = Path(self._settings.token_file).read_text().strip()
        if not token:
            return {}
        if not is_one_line(token):
            raise ValueError("token: expected one line of text")
        return {"Authorization": f"Bearer {token}"}

    def _complain(self, url: str, error: Exception) -> None:
        now_s = time.monotonic()
        if now_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now_s
            _log.warning("event=limits_not_read indexer=%s error=%s", urlsplit(url).hostname, error)


def _connection(host: str, port: int | None, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
    if tls is None:
        return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=tls)
