"""Errors of the store: turns exceptions of clickhouse-connect into a StoreError with a cause.

Owns the texts that users see (indexer/clickhouse/faults.py has the causes). They hold the server's address
and user, and never a DSN, password, path or SQL.
"""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from clickhouse_connect.driver.exceptions import DataError, Error, OperationalError, ProgrammingError
from urllib3.exceptions import HTTPError, NameResolutionError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from agent.config.secrets import masked_url
from indexer.clickhouse.faults import Fault, explain, fault_of, public_text

#: Why no server answered, by exception; the first that fits.
_REASONS: Final = (
    (ConnectionRefusedError, "connection refused"),
    ((NameResolutionError, socket.gaierror), "its name was not found"),
    ((TimeoutError, HTTPTimeoutError), "no answer in time"),
    (ssl.SSLError, "TLS failed"),
)


#: ClickHouse's code for a statement that is too long.
_SYNTAX_ERROR: Final = 62


class StoreError(Exception):
    """ClickHouse refused or could not be reached, or was not asked for a reason of ours.

    The text is for the operator: it has address and user, never a DSN, password, path or SQL. `told` is for
    clients; `public`: it is the text itself, a reason of ours. `retryable`: the same call may succeed later
    by itself. `code` and its `name` are ClickHouse's own; None when no server answered. `detail` is its text,
    which may hold SQL: for debugging.
    """

    def __init__(
        self,
        text: str,
        *,
        retryable: bool,
        code: int | None = None,
        name: str | None = None,
        fault: Fault | None = None,
        detail: str = "",
        public: bool = False,
    ) -> None:
        super().__init__(text)
        self.retryable = retryable
        self.code = code
        self.name = name
        self.fault = fault_of(code) if fault is None else fault
        self.detail = detail
        self._public = public
        self.kind = ""  # of the samples whose INSERT failed; see indexer/write/inserter.py
        self.stored: tuple[str, ...] = ()  # INSERTs of the batch that did not fail

    @property
    def told(self) -> str:
        """The error text for a client."""
        return str(self) if self._public else public_text(self.fault, self.code, self.name)


class TooLongError(StoreError):
    """A statement is too long with the lists that its user may send in no other way."""

    def __init__(self, max_bytes: int) -> None:
        text = (
            f"the lists of ids make a statement longer than {max_bytes} bytes (max_query_size), and"
            " ClickHouse's user may send them only inside it (readonly = 1)"
        )
        super().__init__(text, retryable=False, code=_SYNTAX_ERROR, name="SYNTAX_ERROR")


class ServerAddress(NamedTuple):
    """The address and user of a store, for error messages; both are empty for an embedded one."""

    address: str
    user: str


EMBEDDED: Final = ServerAddress("", "")


def store_error(e: Exception, place: ServerAddress) -> StoreError:
    """Return the StoreError of an exception of clickhouse-connect or the network."""
    code = e.code if isinstance(e, Error) else None
    name = e.name if isinstance(e, Error) else None
    fault = fault_of(code) if code is not None else _without_code(e, place)
    reason = _reason(e) if fault is Fault.AWAY else ""
    return StoreError(
        explain(fault, code, name, *place, reason),
        retryable=fault.passes,
        code=code,
        name=name,
        fault=fault,
        detail=masked_url(str(e).strip()) or type(e).__name__,
    )


def _without_code(e: Exception, place: ServerAddress) -> Fault:
    """Return the cause of an error without a ClickHouse code."""
    if isinstance(e, OSError) and e.errno == errno.ENOSPC:
        return Fault.FULL
    if isinstance(e, ProgrammingError | DataError):  # the client does not take it
        return Fault.STATEMENT
    if place != EMBEDDED and isinstance(e, OperationalError | HTTPError | OSError):
        return Fault.AWAY
    return Fault.OTHER  # an answer of a proxy, or of a client that does not understand it


def _reason(e: BaseException) -> str:
    """Return why no server answered, from the exceptions that led to `e`."""
    seen: list[BaseException] = []
    found: object = e
    while isinstance(found, BaseException) and found not in seen:
        seen.append(found)
        found = getattr(found, "reason", None) or found.__cause__ or found.__context__
    for kind, words in _REASONS:
        if any(isinstance(one, kind) for one in seen):
            return words
    return "the connection broke"


def server_address(address: str) -> ServerAddress:
    """Return the address of an HTTP URL without its path, and its user."""
    parts = urlsplit(address)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    port = parts.port or (8443 if parts.scheme == "https" else 8123)
    return ServerAddress(f"{host}:{port}", unquote(parts.username or ""))
