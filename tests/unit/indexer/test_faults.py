"""The table of causes: which errors may end a frame, and the messages for operators."""

from __future__ import annotations

import errno
from pathlib import Path

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


def test_every_code_of_clickhouse_has_the_cause_that_was_decided() -> None:
    """The table has all codes of ClickHouse 26; a code that it lacks is of no frame either."""
    table = {}
    for line in (Path(__file__).parents[2] / "golden" / "clickhouse_codes.tsv").read_text().splitlines():
        code, _, fault = line.split("\t")
        table[int(code)] = fault
    assert len(table) > 600
    assert {code: fault_of(code).value for code in range(5_000)} == dict.fromkeys(
        range(5_000), "other"
    ) | table
    assert {code for code, fault in table.items() if fault == "bytes"} == {6, 27, 69, 128, 131, 190, 321, 407}


def test_a_constraint_of_a_profile_is_the_operators_and_waits_in_line() -> None:
    for code in (452, 472):
        fault = fault_of(code)
        assert (fault, fault.of_one_batch, fault.passes, fault.before_rows) == (
            Fault.SETTINGS, False, False, True,
        )  # fmt: skip
    error = store_error(DatabaseError("x", code=452, name="C"), ServerAddress("h:1", "u"))
    assert str(error) == (
        "ClickHouse at h:1 refuses a setting to user 'u': expected a profile without a constraint on it"
        " (code 452, C)"
    )


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
