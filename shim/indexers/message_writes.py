"""Writes of messages under a key, which an indexer stores once: by the one of this process, or over HTTP."""

from __future__ import annotations

import asyncio
import http.client
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from shim.indexers.indexer_client import IndexerAnswer, IndexerClient
from shim.model.errors import BadData, Unavailable

_log: Final = logging.getLogger("shim.indexers")
_PATH: Final = "/v1/messages"
_TIMEOUT_S: Final = 30.0


class Stored(NamedTuple):
    """The outcome of a request: "known" says that others were stored under its key."""

    outcome: Literal["stored", "known"]
    rejected: int = 0


#: Stores a body under a key. Raises BadData (never to be taken) and Unavailable.
StoreMessages = Callable[[bytes, str], Awaitable[Stored]]
#: The indexer of this process: body and key in, status and body out.
TakeMessages = Callable[[bytes, str], Awaitable[tuple[int, bytes]]]


class _Answer(msgspec.Struct):
    accepted: int = 0
    rejected: list[msgspec.Raw] = []
    error: str = ""


def local_messages(take: TakeMessages) -> StoreMessages:
    """Return the writes of the indexer in this process."""

    async def store(body: bytes, key: str) -> Stored:
        found = _outcome(IndexerAnswer(*await take(body, key)))
        if isinstance(found, str):
            raise Unavailable(f"the messages cannot be stored: {found}")
        return found

    return store


def remote_messages(client: IndexerClient, pool: Executor) -> StoreMessages:
    """Return writes to the first indexer that takes them."""

    def ask(body: bytes, key: str) -> Stored:
        told = "expected one in shim.indexers.urls"
        for url in client.urls:
            try:
                answer = client.ask(url, _PATH, method="POST", body=body, key=key, timeout_s=_TIMEOUT_S)
            except (OSError, http.client.HTTPException, ValueError) as e:
                told = str(e)
                _log.warning("event=messages_not_stored indexer=%s error=%s", urlsplit(url).hostname, e)
                continue
            found = _outcome(answer)
            if isinstance(found, Stored):
                return found
            told = found
        raise Unavailable(f"no indexer stored the messages: {told}")

    async def store(body: bytes, key: str) -> Stored:
        return await asyncio.get_running_loop().run_in_executor(pool, partial(ask, body, key))

    return store


def _outcome(answer: IndexerAnswer) -> Stored | str:
    """Return the outcome, or why to try again. Raises BadData."""
    try:
        told = msgspec.json.decode(answer.body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = _Answer(error=answer.body.decode(errors="replace")[:200])
    match answer.status:
        case 200:
            return Stored("stored", len(told.rejected))
        case 409:
            return Stored("known")
        case 400 | 413:
            reason = told.error or (bytes(told.rejected[0]).decode() if told.rejected else "")
            raise BadData(f"the indexer refused the messages: {reason}")
    return f"status {answer.status}: {told.error}"
