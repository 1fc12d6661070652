"""Deletions of samples: by the indexer of this process, or over HTTP by one of others. Blocks for minutes."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from indexer.deletion.deletion_request import (
    DeletionBusyError,
    DeletionError,
    DeletionRequest,
    DeletionResult,
    TooManyDeletionsError,
)
from indexer.http.paths import DELETIONS
from shim.indexers.indexer_client import IndexerClient
from shim.model.errors import BadData, Forbidden, TooMany, Unavailable

_log: Final = logging.getLogger("shim.indexers")
#: Deletes. Raises BadData, Forbidden, TooMany, Unavailable, and StoreError of a store in this process.
DeleteSeries = Callable[[DeletionRequest], DeletionResult]
#: How long an indexer may delete without an answer.
_TIMEOUT_S: Final = 6 * 3_600.0


class _Answer(msgspec.Struct):
    error: str = ""


def local_deletions(delete: Callable[[DeletionRequest], DeletionResult]) -> DeleteSeries:
    """Return the deletions of the indexer in this process."""

    def call(asked: DeletionRequest) -> DeletionResult:
        try:
            return delete(asked)
        except DeletionError as e:
            raise BadData(str(e)) from None
        except TooManyDeletionsError as e:
            raise TooMany(str(e)) from None
        except DeletionBusyError as e:
            raise Unavailable(str(e)) from None

    return call


def remote_deletions(client: IndexerClient) -> DeleteSeries:
    """Return the deletions of the first indexer that answers."""

    def call(asked: DeletionRequest) -> DeletionResult:
        body, told = msgspec.json.encode(asked), "expected one in shim.indexers.urls"
        for url in client.urls:
            try:
                answer = client.ask(url, DELETIONS, method="POST", body=body, timeout_s=_TIMEOUT_S)
            except (OSError, http.client.HTTPException, ValueError) as e:
                told = str(e)
                _log.warning("event=not_deleted indexer=%s error=%s", urlsplit(url).hostname, e)
                continue
            if answer.status == 200:
                return msgspec.json.decode(answer.body, type=DeletionResult)
            told = _error_of(answer.body)
            if answer.status in (400, 413):
                raise BadData(f"the indexer refused the deletion: {told}")
            if answer.status == 429:
                raise TooMany(told)
            if answer.status in (401, 403):
                raise Forbidden(f"the indexer refused the deletion: {told}")
        raise Unavailable(f"no indexer deleted: {told}")

    return call


def _error_of(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Answer).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace")[:200]
