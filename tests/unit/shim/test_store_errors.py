"""The message to a client when the store fails, and the log's."""

from __future__ import annotations

import logging

import pytest

from indexer.clickhouse.faults import Fault
from indexer.clickhouse.store import StoreError, TooLongError
from shim.model.errors import Canceled, ExecutionError, InternalError, QueryError, TimedOut, Unavailable
from shim.read.store_errors import query_error

SECRET = "Code: 1. SELECT x FROM t WHERE tag = 'secret' at http://user:password@host"


@pytest.mark.parametrize(
    ("code", "retryable", "kind", "words"),
    [
        (None, True, Unavailable, "try again"),
        (241, True, ExecutionError, "fewer series or a shorter range"),
        (396, True, ExecutionError, "raise that limit"),
        (452, True, ExecutionError, "exceeds a limit of ClickHouse's user or profile"),
        (202, True, Unavailable, "busy"),
        (62, False, InternalError, "too long"),
        (1000, True, InternalError, "too long"),
        (516, False, InternalError, "check the user of shim.dsn"),
        (164, False, InternalError, "right to read the database"),
        (60, False, InternalError, "check the database of shim.dsn"),
        (999, True, Unavailable, "try again"),
        (36, False, InternalError, "the server's log names the query"),
    ],
)
def test_what_a_client_is_told(
    code: int | None,
    retryable: bool,
    kind: type[QueryError],
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, "shim"):
        told = query_error(StoreError(SECRET, retryable=retryable, code=code, name="A_NAME"), "abc123")
    assert type(told) is kind
    assert words in str(told)
    assert code is None or f"code {code}" in str(told)
    assert f"event=store_error code={code} name=A_NAME retryable={retryable} query=abc123" in caplog.text
    for part in ("secret", "password", "SELECT"):
        assert part not in str(told) + caplog.text


@pytest.mark.parametrize(("code", "kind"), [(394, Canceled), (159, TimedOut), (209, TimedOut)])
def test_what_is_no_failure_is_not_logged(
    code: int, kind: type[QueryError], caplog: pytest.LogCaptureFixture
) -> None:
    assert type(query_error(StoreError(SECRET, retryable=True, code=code))) is kind
    assert not caplog.records


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (StoreError(SECRET, retryable=True, fault=Fault.FULL), Unavailable, "ClickHouse has no room"),
        (StoreError(SECRET, retryable=True, fault=Fault.OTHER), Unavailable, "ClickHouse fails"),
        (
            StoreError(SECRET, retryable=False, fault=Fault.STATEMENT),
            InternalError,
            "take a statement",
        ),
        (StoreError("the store is closed", retryable=False, public=True), InternalError, "store is closed"),
    ],
)
def test_only_a_store_that_is_away_cannot_be_reached(
    error: StoreError, kind: type[QueryError], words: str
) -> None:
    told = query_error(error)
    assert type(told) is kind
    assert words in str(told)
    assert "secret" not in str(told)


def test_a_list_that_a_user_may_not_send() -> None:
    told = query_error(TooLongError(262_144))
    assert type(told) is ExecutionError
    assert "longer than 262144 bytes (max_query_size)" in str(told)
    assert "(readonly = 1): select fewer series, or give that user readonly = 2" in str(told)
