"""Counts each request of messages once: by its key, or without one by the earlier answer.

A client that is answered 503 sends the same bytes again, and some of them may be stored by then. So a request
without a key that is answered 503 is remembered by a hash of its bytes and scope, and the next request of the
same bytes is its repetition. After any other answer the same bytes are a new request: two clients may well
send the same. A request with a key is known by it: other bytes are a conflict, before any is stored. A
request that failed before any of it was begun leaves its key unused.

A repeated request is read as of the time it first came, so that the same messages are accepted.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from indexer.access.grants import Grant
from indexer.receive.messages import MessagesError, Parsed
from indexer.receive.pending_requests import PendingRequest, PendingRequests
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import Conflict, Limited, Refused, TooOld, Unavailable
from indexer.write.identity import OF_KEYLESS, digest
from indexer.write.journal import JournalError
from indexer.write.journal_rows import KnownRequest

#: Latest keys of this process whose requests are known without the journal.
_MAX_KEYS: Final = 100_000


class _UsedKey(msgspec.Struct):
    """A key that was used. `begun`: a frame of it may be stored. `running`: requests under it now."""

    request: KnownRequest
    begun: bool = False
    running: int = 0


class MessageRequests:
    """Writes requests of messages.

    `parse(body, key, grant, at_ms)` reads one as of a time, `write` stores its frames. `taken`: returns the
    journal's entries of identities that begin with a text.
    """

    def __init__(
        self,
        parse: Callable[[bytes, str, Grant, int], Awaitable[Parsed]],
        write: Callable[[Sequence[AcceptedFrame]], Awaitable[object]],
        pending: PendingRequests,
        taken: Callable[[str], Iterable[KnownRequest]] = lambda _: (),
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._parse = parse
        self._write = write
        self._pending = pending
        self._taken = taken
        self._now_ms = now_ms
        self._keys: OrderedDict[str, _UsedKey] = OrderedDict()

    async def write(self, body: bytes, key: str, grant: Grant) -> Parsed:
        """Store a request once; `key` is empty if it has none. Raises MessagesError and WriteError."""
        return await (self._keyed(body, key, grant) if key else self._keyless(body, grant))

    async def _keyless(self, body: bytes, grant: Grant) -> Parsed:
        name = digest(f"{grant}\n".encode() + body)
        again = self._pending.claim(name)
        request = again or PendingRequest(name, f"{OF_KEYLESS}{uuid.uuid4().hex}", self._now_ms())
        open_ended = again is not None
        try:
            parsed = await self._parse(body, request.key, grant, request.created_ms)
            open_ended = True
            await self._write(parsed.units)
            open_ended = False
        except (MessagesError, Refused, Conflict, TooOld):
            open_ended = False
            raise
        except Limited as e:  # of several units, others may be stored
            open_ended = e.begun or again is not None or len(parsed.units) > 1
            raise
        finally:
            if open_ended:
                await asyncio.to_thread(self._pending.remember, request)
            elif again is not None:
                await asyncio.to_thread(self._pending.resolve, request)
        return parsed

    async def _keyed(self, body: bytes, key: str, grant: Grant) -> Parsed:
        now_ms = self._now_ms()
        parsed = await self._parse(body, key, grant, now_ms)
        sent = digest(body)
        first_ms = self._first_ms(parsed, sent, now_ms)
        if first_ms != now_ms:
            parsed = await self._parse(body, key, grant, first_ms)
        with self._using(parsed, KnownRequest(sent, first_ms)):
            await self._write(parsed.units)
        return parsed

    @contextmanager
    def _using(self, parsed: Parsed, request: KnownRequest) -> Iterator[None]:
        """Remember the keys of a request, unless none of its frames is begun."""
        names = _names(parsed)
        used = [self._keys.setdefault(name, _UsedKey(request)) for name in names]
        for name, key in zip(names, used, strict=True):
            key.running += 1
            self._keys.move_to_end(name)
            if len(self._keys) > _MAX_KEYS:
                self._keys.popitem(last=False)
        begun = True
        try:
            yield
        except (Unavailable, Limited) as e:  # of several frames, others may have been begun
            begun = e.begun or len(parsed.units) > 1
            raise
        finally:
            for name, key in zip(names, used, strict=True):
                key.running -= 1
                key.begun |= begun
                if not key.begun and not key.running and self._keys.get(name) is key:
                    del self._keys[name]

    def _first_ms(self, parsed: Parsed, sent: bytes, now_ms: int) -> int:
        """Return when the request first came. Raises Conflict if other bytes came under its key."""
        first_ms = now_ms
        for name in _names(parsed):
            used = self._keys.get(name)
            for taken in [used.request] if used is not None else self._journalled(name):
                if taken.digest and taken.digest != sent:
                    raise Conflict("Idempotency-Key: other bytes were taken under this key before")
                first_ms = min(first_ms, taken.created_ms or now_ms)
        return first_ms

    def _journalled(self, name: str) -> Iterable[KnownRequest]:
        try:
            return self._taken(name)
        except JournalError as e:
            raise Unavailable(f"journal: {e}", retry_after_s=5) from e


def _names(parsed: Parsed) -> set[str]:
    """Return the beginnings of the identities of a request's frames, one per tenant."""
    return {unit.identity.rpartition("/")[0] + "/" for unit in parsed.units}
