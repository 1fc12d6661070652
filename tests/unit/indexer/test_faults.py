"""The table of causes: which errors may end a frame, and the messages for operators."""

from __future__ import annotations

import errno

import pytest
from clickhouse_connect.driver.exceptions import (
    DatabaseError,
    DataError,
    NotSupportedError,
    OperationalError,
)

from indexer.clickhouse.faults import FAULTS, Fault, fault_of
from indexer.clickhouse.store_errors import EMBEDDED, ServerAddress, StoreError, server_address, store_error


def test_codes_of_operators_and_servers_are_not_blamed_on_a_frame() -> None:
    for code in (516, 192, 193, 497, 164, 60, 81, 33, 117, 241, 252, 243, 999, 49, 1002, 12345, None):
        assert fault_of(code) is not Fault.BYTES


def test_each_code_has_one_cause() -> None:
    assert len(FAULTS) == len(set(FAULTS))
    assert {fault for fault in Fault if fault not in FAULTS.values()} == {Fault.AWAY, Fault.OTHER}


@pytest.mark.parametrize(
    ("error", "fault", "passes"),
    [
        (DatabaseError("x", code=241), Fault.BUSY, True),
        (DatabaseError("HTTP 502"), Fault.OTHER, True),
        (OperationalError("broken"), Fault.AWAY, True),
        (ConnectionRefusedError(), Fault.AWAY, True),
        (NotSupportedError("no"), Fault.OTHER, True),
        (OSError(errno.ENOSPC, "no room"), Fault.FULL, True),
        (DataError("no"), Fault.STATEMENT, False),
    ],
)
def test_errors_of_the_client(error: Exception, fault: Fault, passes: bool) -> None:
    found = store_error(error, ServerAddress("h:1", ""))
    assert (found.fault, found.retryable) == (fault, passes)


def test_an_embedded_engine_is_never_away() -> None:
    assert store_error(OperationalError("x"), EMBEDDED).fault is Fault.OTHER


def test_the_operator_reads_address_and_user_and_a_client_does_not() -> None:
    raw = "Code: 516. DB::Exception: SELECT 1 at http://u:p@h"
    error = store_error(
        DatabaseError(raw, code=516, name="AUTHENTICATION_FAILED"), ServerAddress("h:8123", "u")
    )
    assert (
        str(error)
        == "ClickHouse at h:8123 refuses the password of user 'u' (code 516, AUTHENTICATION_FAILED)"
    )
    assert error.told == "ClickHouse refuses the password of the user (code 516, AUTHENTICATION_FAILED)"


def test_why_nobody_answers_is_found_in_the_chain() -> None:
    try:
        try:
            raise ConnectionRefusedError
        except ConnectionRefusedError as e:
            raise OperationalError("HTTPConnectionPool(host='h')") from e
    except OperationalError as e:
        found = store_error(e, ServerAddress("h:1", ""))
    assert str(found) == "ClickHouse at h:1 cannot be reached: connection refused"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("http://me:x@host", ("host:8123", "me")),
        ("https://host", ("host:8443", "")),
        ("http://a%40b:x@[::1]:9", ("[::1]:9", "a@b")),
    ],
)
def test_places(address: str, place: tuple[str, str]) -> None:
    assert server_address(address) == place


def test_a_store_error_made_by_hand_has_the_cause_of_its_code() -> None:
    assert StoreError("x", retryable=True, code=243).fault is Fault.FULL
