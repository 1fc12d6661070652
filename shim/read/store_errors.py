"""Translates failures of the store: into the error that a client sees, and the line in the log.

ClickHouse's own text is never shown: it may hold SQL, addresses or names of other tenants. The log has its
code, the code's name, and the query's tag, which ClickHouse's own query log has as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from indexer.clickhouse.faults import Fault, public_text
from indexer.clickhouse.store import StoreError, TooLongError
from shim.model.errors import Canceled, ExecutionError, InternalError, QueryError, TimedOut, Unavailable

_log: Final = logging.getLogger("shim.store")

#: ClickHouse's codes.
_CANCELLED: Final = 394
_TIMEOUTS: Final = frozenset({159, 160, 209})
_MEMORY: Final = frozenset({173, 241})
_LIMITS: Final = frozenset({158, 191, 307, 396, 452})
_BUSY: Final = frozenset({202, 203, 319})
_AWAY: Final = public_text(Fault.AWAY)
_TOO_LONG: Final = frozenset({62, 1000})
_REFUSED_LOGIN: Final = frozenset({192, 193, 194, 516})
_FORBIDDEN: Final = frozenset({164, 497})
_MISSING: Final = frozenset({16, 47, 60, 81})


@contextmanager
def told_of_store(tag: str) -> Iterator[None]:
    """Turn a failure of the store inside the context into the client's error."""
    try:
        yield
    except StoreError as e:
        raise query_error(e, tag) from e


def query_error(error: StoreError, tag: str = "") -> QueryError:
    """Log the failure and return the client's error. `tag`: the query's, as in its statements."""
    if isinstance(error, TooLongError):
        return ExecutionError(f"{error}: select fewer series, or give that user readonly = 2")
    if error.code == _CANCELLED:
        return Canceled("query was canceled in expression evaluation")
    if error.code in _TIMEOUTS:
        return TimedOut("query timed out in expression evaluation")
    _log.error(
        "event=store_error code=%s name=%s retryable=%s query=%s",
        error.code, error.name or "none", error.retryable, tag or "none",
    )  # fmt: skip
    return _told(error)


def _without_code(error: StoreError) -> QueryError:
    """Return the error of a store that is away, of a full disk, or of a reason of ours."""
    if error.told == _AWAY:
        return Unavailable("the store cannot be reached: try again, and check shim.dsn if it lasts")
    return Unavailable(error.told) if error.retryable else InternalError(error.told)


def _told(error: StoreError) -> QueryError:
    code = error.code
    if code is None:
        return _without_code(error)
    if code in _MEMORY:
        return ExecutionError(
            f"query needs more memory than ClickHouse allows (code {code}): select fewer series or a shorter"
            " range, or raise max_memory_usage for its user"
        )
    if code in _LIMITS:
        return ExecutionError(
            f"query exceeds a limit of ClickHouse's user or profile (code {code}): select fewer series or a"
            " shorter range, or raise that limit"
        )
    if code in _BUSY:
        return Unavailable(f"the store is busy (code {code}): try again")
    if code in _TOO_LONG:
        return InternalError(
            f"a statement was refused as too long or not understood (code {code}): select fewer series, and"
            " please report the query"
        )
    if code in _REFUSED_LOGIN:
        return InternalError(f"the store refused the login (code {code}): check the user of shim.dsn")
    if code in _FORBIDDEN:
        return InternalError(
            f"the store's user may not run this (code {code}): it needs the right to read the database"
        )
    if code in _MISSING:
        return InternalError(
            f"the store lacks a table or column (code {code}): check the database of shim.dsn, and start the"
            " indexer of this version once"
        )
    if error.retryable:
        return Unavailable(f"the store cannot answer now (code {code}): try again")
    return InternalError(f"the store refused a statement (code {code}): the server's log names the query")
