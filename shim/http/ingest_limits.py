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
from typing import Final
from urllib.parse import urlsplit

import msgspec

from indexer.http.paths import LIMITS
from shim.indexers.indexer_client import IndexerClient
from shim.settings import IndexersSettings

_log: Final = logging.getLogger("shim.limits")

#: The key of how many indexers did not tell.
NOT_REACHED: Final = "indexersNotReached"
_SUMMED: Final = "LimitedRows"
_TIMEOUT_S: Final = 2.0
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
        self._client = IndexerClient(settings)
        self._logged_s = -_LOG_EVERY_S

    def __call__(self, org_id: int) -> Mapping[str, int]:
        """Return an org's limits by name; NOT_REACHED has how many indexers did not tell."""
        found: Counter[str] = Counter()
        for url in self._client.urls:
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
        answer = self._client.ask(url, f"{LIMITS}?org_id={org_id}", timeout_s=_TIMEOUT_S)
        if answer.status != 200:
            raise OSError(f"status {answer.status}: expected 200")
        return _decoder.decode(answer.body)

    def _complain(self, url: str, error: Exception) -> None:
        now_s = time.monotonic()
        if now_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now_s
            _log.warning("event=limits_not_read indexer=%s error=%s", urlsplit(url).hostname, error)
