"""Classifies errors of ClickHouse by cause: the table of its codes, and a text for each cause.

Only an error that a frame's bytes cause may end that frame (400). All others concern the operator or the
server: the frame waits and its sender is answered 503. An unknown code is never blamed on a frame.
docs/reliability.md lists the consequences of each cause.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Fault(Enum):
    """The cause of a failed ClickHouse call; the values are labels of metrics."""

    BYTES = "bytes"  # values of a frame
    LOGIN = "login"  # user or password
    READONLY = "readonly"  # a user that may not write
    RIGHTS = "rights"  # missing grants, perhaps of one table
    MISSING = "missing"  # a table, column or database that is missing now
    DAMAGED = "damaged"  # broken parts, or data cut on the way
    STATEMENT = "statement"  # a statement that this version of ClickHouse does not take
    FULL = "full"  # no room on a disk
    BUSY = "busy"  # memory, load, timeouts
    KEEPER = "keeper"  # Keeper or replicas
    AWAY = "away"  # no answer at all
    OTHER = "other"  # a code that is not in the table

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed later without an operator's help."""
        return self in _PASSES

    @property
    def of_one_batch(self) -> bool:
        """Whether other batches may be stored meanwhile, those of other tables for example."""
        return self in _OF_ONE_BATCH

    @property
    def before_rows(self) -> bool:
        """Whether an INSERT fails before any table has rows of it."""
        return self in _BEFORE_ROWS


_BEFORE_ROWS: Final = frozenset({Fault.LOGIN, Fault.READONLY, Fault.RIGHTS, Fault.MISSING})
_PASSES: Final = frozenset({Fault.FULL, Fault.BUSY, Fault.KEEPER, Fault.AWAY, Fault.OTHER})
_OF_ONE_BATCH: Final = frozenset({Fault.BYTES, Fault.RIGHTS, Fault.MISSING, Fault.DAMAGED, Fault.STATEMENT})

#: ClickHouse's error codes by cause.
_CODES: Final[Mapping[Fault, tuple[int, ...]]] = {
    Fault.BYTES: (
        6,  # CANNOT_PARSE_TEXT
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        69,  # ARGUMENT_OUT_OF_BOUND
        128,  # TOO_LARGE_ARRAY_SIZE
        131,  # TOO_LARGE_STRING_SIZE
        190,  # SIZES_OF_ARRAYS_DONT_MATCH
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        407,  # DECIMAL_OVERFLOW
    ),
    Fault.LOGIN: (
        192,  # UNKNOWN_USER
        193,  # WRONG_PASSWORD
        194,  # REQUIRED_PASSWORD
        516,  # AUTHENTICATION_FAILED
    ),
    Fault.READONLY: (164,),  # READONLY
    Fault.RIGHTS: (497,),  # ACCESS_DENIED
    Fault.MISSING: (
        10,  # NOT_FOUND_COLUMN_IN_BLOCK
        16,  # NO_SUCH_COLUMN_IN_TABLE
        47,  # UNKNOWN_IDENTIFIER
        60,  # UNKNOWN_TABLE
        81,  # UNKNOWN_DATABASE
        218,  # TABLE_IS_DROPPED
        219,  # DATABASE_NOT_EMPTY
    ),
    Fault.DAMAGED: (
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        40,  # CHECKSUM_DOESNT_MATCH
        107,  # FILE_DOESNT_EXIST
        117,  # INCORRECT_DATA
        228,  # NOT_FOUND_EXPECTED_DATA_PART
        246,  # CORRUPTED_DATA
    ),
    Fault.STATEMENT: (
        36,  # BAD_ARGUMENTS
        42,  # NUMBER_OF_ARGUMENTS_DOESNT_MATCH
        43,  # ILLEGAL_TYPE_OF_ARGUMENT
        44,  # ILLEGAL_COLUMN
        46,  # UNKNOWN_FUNCTION
        50,  # UNKNOWN_TYPE
        53,  # TYPE_MISMATCH
        62,  # SYNTAX_ERROR
        70,  # CANNOT_CONVERT_TYPE
        115,  # UNKNOWN_SETTING
    ),
    Fault.FULL: (
        75,  # CANNOT_WRITE_TO_FILE_DESCRIPTOR
        243,  # NOT_ENOUGH_SPACE
    ),
    Fault.BUSY: (
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        173,  # CANNOT_ALLOCATE_MEMORY
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        252,  # TOO_MANY_PARTS
        394,  # QUERY_WAS_CANCELLED
        439,  # CANNOT_SCHEDULE_TASK
        473,  # DEADLOCK_AVOIDED
        745,  # SERVER_OVERLOADED
    ),
    Fault.KEEPER: (
        225,  # NO_ZOOKEEPER
        242,  # TABLE_IS_READ_ONLY
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        319,  # UNKNOWN_STATUS_OF_INSERT
        999,  # KEEPER_EXCEPTION
    ),
}
FAULTS: Final[Mapping[int, Fault]] = {code: fault for fault, codes in _CODES.items() for code in codes}

#: The text of each cause, after "ClickHouse at ADDRESS"; `{user}` is the user, or "the user" for a client.
_WORDS: Final[Mapping[Fault, str]] = {
    Fault.BYTES: "refuses values of a frame",
    Fault.LOGIN: "refuses the password of {user}",
    Fault.READONLY: "lets {user} read only: expected a profile with readonly 0",
    Fault.RIGHTS: "does not give {user} all the rights that Meterhouse needs",
    Fault.MISSING: "lacks a table, column or database: it is being restored, or was changed by hand",
    Fault.DAMAGED: "met damaged data, or a request was cut on its way",
    Fault.STATEMENT: "does not take a statement of this version of Meterhouse",
    Fault.FULL: "has no room on its disk",
    Fault.BUSY: "has too little memory or time for more now",
    Fault.KEEPER: "has lost its Keeper or its replicas",
    Fault.AWAY: "cannot be reached",
    Fault.OTHER: "fails",
}


def fault_of(code: int | None) -> Fault:
    """Return the cause of an error from ClickHouse's code; None: no server answered."""
    return Fault.AWAY if code is None else FAULTS.get(code, Fault.OTHER)


def public_text(fault: Fault, code: int | None = None, name: str | None = None) -> str:
    """Return the error text for a client, without address and user."""
    return _sentence("ClickHouse", fault, "the user", code, name)


def explain(fault: Fault, code: int | None, name: str | None, address: str, user: str, more: str = "") -> str:
    """Return the error text for the operator. `more`: a reason, such as "connection refused"."""
    place = f"ClickHouse at {address}" if address else "the embedded ClickHouse"
    whom = f"user {user!r}" if user else "the default user"
    return _sentence(place, fault, whom, code, name) + (f": {more}" if more else "")


def _sentence(place: str, fault: Fault, user: str, code: int | None, name: str | None) -> str:
    number = "" if code is None else f" (code {code}{f', {name}' if name else ''})"
    return f"{place} {_WORDS[fault].format(user=user)}{number}"
