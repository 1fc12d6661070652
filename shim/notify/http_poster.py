"""POST requests with a deadline, a bounded answer and no redirects.

Owns the meaning of an answer: delivered, to be tried again, or refused for good. Each poster has connections
of its own, so that a server that hangs delays only those who send to it. Runs in one event loop.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

#: Returns whether a connection for a host and port may go to this address.
AddressCheck = Callable[[str, int, str], bool]
MAX_ANSWER_BYTES: Final = 1_024
_MAX_RETRY_AFTER_S: Final = 3_600.0
#: Names that are looked up at the same time, in all and under one domain: its name server may hang.
_NAME_THREADS: Final = 64
_OF_DOMAIN: Final = 16
#: Names that are looked up or wait for that; further ones are to be tried again.
_MAX_NAMES: Final = 1_024
#: Statuses of servers that may take the same request later.
_PASSING: Final = frozenset({408, 421, 425, 429})


class PostOutcome(Enum):
    """The meaning of an answer."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """`text`: the reason of a failure, for operators; it may quote the answer, so no tenant may see it.

    `reached`: whether there was a connection; without one no other message would have arrived.
    """

    outcome: PostOutcome
    status: int | None = None
    text: str = ""
    retry_after_s: float | None = None
    reached: bool = True


class HttpPoster:
    """`check` None: all addresses are allowed. `tls`: returns the context of a new connection."""

    def __init__(
        self,
        *,
        timeout_s: float,
        tls: Callable[[], ssl.SSLContext] | None = None,
        server_name: str = "",
        check: AddressCheck | None = None,
        max_connections: int = 8,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._tls = tls
        self._server_name = server_name or None
        self._check = check
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> PostAnswer:
        """Send one request. Failures are answers, too; raises ValueError for a URL that cannot be read."""
        tls: ssl.SSLContext | bool = True
        name = None
        if url.startswith("https://"):
            tls, name = self._tls() if self._tls is not None else True, self._server_name
        try:
            async with self._opened().post(
                url, data=body, headers=headers, allow_redirects=False, ssl=tls, server_hostname=name
            ) as response:
                text = (await response.content.read(MAX_ANSWER_BYTES)).decode(errors="replace")
                return _answer(response.status, text, response.headers.get("Retry-After", ""))
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):  # their texts have the URL, a secret
            raise ValueError("the URL cannot be read: expected http://host:port/path") from None
        except TimeoutError:
            return PostAnswer(PostOutcome.RETRY, text=f"no answer in {self._timeout.total} s")
        except (aiohttp.ClientError, OSError) as e:
            reached = not isinstance(e, aiohttp.ClientConnectorError)
            return PostAnswer(PostOutcome.RETRY, text=f"{type(e).__name__}: {e}"[:300], reached=reached)

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=_Resolver(self._check), limit=self._max_connections, use_dns_cache=False
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "Meterhouse"},
                auto_decompress=False,  # a small answer stays small
            )
        return self._session


class _Resolver(AbstractResolver):
    """Resolves names, and refuses addresses: those that are checked here are those of the connection.

    A name server that hangs keeps a thread for long, so the threads are its own, and each name has one. Names
    under one domain have a part of them, so that a tenant whose name server hangs delays its own webhooks.
    """

    def __init__(self, check: AddressCheck | None) -> None:
        self._check = check
        self._threads = ThreadPoolExecutor(_NAME_THREADS, thread_name_prefix="webhook-names")
        self._asked: dict[tuple[str, int, int], asyncio.Task[list[ResolveResult]]] = {}
        self._domains: dict[str, asyncio.Semaphore] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._look_up(host, port, family)
        if self._check is None:
            return found
        allowed = [one for one in found if self._check(host, port, one["host"])]
        if not allowed:
            raise OSError("the host has no address that is allowed: expected a public address")
        return allowed

    async def close(self) -> None:
        for task in self._asked.values():
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look_up(self, host: str, port: int, family: int) -> list[ResolveResult]:
        """Return the addresses, with the threads' answer to an earlier request for them. Raises OSError."""
        key = (host, port, family)
        if key not in self._asked:
            if len(self._asked) >= _MAX_NAMES:
                raise OSError(f"{_MAX_NAMES} names of hosts are being looked up: expected fewer")
            task = asyncio.create_task(self._ask(host, port, family))
            self._asked[key] = task
            task.add_done_callback(partial(self._answered, key))
        return await asyncio.shield(self._asked[key])

    async def _ask(self, host: str, port: int, family: int) -> list[ResolveResult]:
        """Ask for a name in a thread, once it is the turn of its domain. Raises OSError."""
        turns = self._domains.setdefault(domain_of(host), asyncio.Semaphore(_OF_DOMAIN))
        async with turns:
            ask = partial(_addresses, host, port, family)
            return await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    def _answered(self, key: tuple[str, int, int], task: asyncio.Task[list[ResolveResult]]) -> None:
        del self._asked[key]
        domain = domain_of(key[0])
        if not any(domain_of(host) == domain for host, _, _ in self._asked):
            self._domains.pop(domain, None)
        if not task.cancelled():
            task.exception()  # who asked may have gone


def domain_of(host: str) -> str:
    """Return the last two labels of a host's name."""
    return ".".join(host.lower().rstrip(".").split(".")[-2:])


def _addresses(host: str, port: int, family: int) -> list[ResolveResult]:
    """Return the addresses of a name. Raises OSError. Source: aiohttp's ThreadedResolver."""
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=port,
            family=found,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for found, _, protocol, _, address in socket.getaddrinfo(
            host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG
        )
    ]


def _answer(status: int, text: str, retry_after: str) -> PostAnswer:
    if 200 <= status < 300:
        return PostAnswer(PostOutcome.DELIVERED, status)
    text = f"status {status}: {text.strip()[:200]}"
    if status >= 500 or status in _PASSING:
        after_s = min(float(retry_after), _MAX_RETRY_AFTER_S) if retry_after.isdigit() else None
        return PostAnswer(PostOutcome.RETRY, status, text, after_s)
    if 300 <= status < 400:
        text = f"status {status}: a redirect, which is not followed"
    return PostAnswer(PostOutcome.REFUSED, status, text)
