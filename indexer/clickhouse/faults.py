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
    SETTINGS = "settings"  # a constraint of the user's profile on a setting that Meterhouse sends
    RIGHTS = "rights"  # missing grants, perhaps of one table
    MISSING = "missing"  # a table, column or database that is missing now
    DAMAGED = "damaged"  # broken parts, or data cut on the way
    STATEMENT = "statement"  # a statement that this version of ClickHouse does not take
    LIMITS = "limits"  # a limit of the user's profile that larger batches exceed
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


_BEFORE_ROWS: Final = frozenset({Fault.LOGIN, Fault.READONLY, Fault.SETTINGS, Fault.RIGHTS, Fault.MISSING})
_PASSES: Final = frozenset({Fault.FULL, Fault.BUSY, Fault.KEEPER, Fault.AWAY, Fault.OTHER})
_OF_ONE_BATCH: Final = frozenset(
    {Fault.BYTES, Fault.RIGHTS, Fault.MISSING, Fault.DAMAGED, Fault.STATEMENT, Fault.LIMITS}
)

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
        720,  # USER_EXPIRED
        767,  # REQUIRED_SECOND_FACTOR
    ),
    Fault.READONLY: (
        164,  # READONLY
    ),
    Fault.SETTINGS: (
        452,  # SETTING_CONSTRAINT_VIOLATION
        472,  # READONLY_SETTING
    ),
    Fault.RIGHTS: (
        291,  # DATABASE_ACCESS_DENIED
        392,  # QUERY_IS_PROHIBITED
        446,  # FUNCTION_NOT_ALLOWED
        497,  # ACCESS_DENIED
        512,  # SET_NON_GRANTED_ROLE
        620,  # QUERY_NOT_ALLOWED
    ),
    Fault.MISSING: (
        8,  # THERE_IS_NO_COLUMN
        10,  # NOT_FOUND_COLUMN_IN_BLOCK
        16,  # NO_SUCH_COLUMN_IN_TABLE
        47,  # UNKNOWN_IDENTIFIER
        60,  # UNKNOWN_TABLE
        81,  # UNKNOWN_DATABASE
        218,  # TABLE_IS_DROPPED
        219,  # DATABASE_NOT_EMPTY
        733,  # TABLE_IS_BEING_RESTARTED
    ),
    Fault.DAMAGED: (
        3,  # UNEXPECTED_END_OF_FILE
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        40,  # CHECKSUM_DOESNT_MATCH
        91,  # SIZES_OF_MARKS_FILES_ARE_INCONSISTENT
        107,  # FILE_DOESNT_EXIST
        117,  # INCORRECT_DATA
        226,  # NO_FILE_IN_DATA_PART
        227,  # UNEXPECTED_FILE_IN_DATA_PART
        228,  # BAD_SIZE_OF_FILE_IN_DATA_PART
        230,  # NOT_FOUND_EXPECTED_DATA_PART
        231,  # TOO_MANY_UNEXPECTED_DATA_PARTS
        246,  # CORRUPTED_DATA
        271,  # CANNOT_DECOMPRESS
        740,  # POTENTIALLY_BROKEN_DATA_PART
    ),
    Fault.STATEMENT: (
        1,  # UNSUPPORTED_METHOD
        34,  # TOO_MANY_ARGUMENTS_FOR_FUNCTION
        35,  # TOO_FEW_ARGUMENTS_FOR_FUNCTION
        36,  # BAD_ARGUMENTS
        37,  # UNKNOWN_ELEMENT_IN_AST
        42,  # NUMBER_OF_ARGUMENTS_DOESNT_MATCH
        43,  # ILLEGAL_TYPE_OF_ARGUMENT
        44,  # ILLEGAL_COLUMN
        46,  # UNKNOWN_FUNCTION
        48,  # NOT_IMPLEMENTED
        50,  # UNKNOWN_TYPE
        53,  # TYPE_MISMATCH
        62,  # SYNTAX_ERROR
        63,  # UNKNOWN_AGGREGATE_FUNCTION
        70,  # CANNOT_CONVERT_TYPE
        80,  # INCORRECT_QUERY
        115,  # UNKNOWN_SETTING
        344,  # SUPPORT_IS_DISABLED
        456,  # UNKNOWN_QUERY_PARAMETER
        457,  # BAD_QUERY_PARAMETER
    ),
    Fault.LIMITS: (
        158,  # TOO_MANY_ROWS
        161,  # TOO_MANY_COLUMNS
        162,  # TOO_DEEP_SUBQUERIES
        165,  # TOO_MANY_TEMPORARY_COLUMNS
        166,  # TOO_MANY_TEMPORARY_NON_CONST_COLUMNS
        167,  # TOO_DEEP_AST
        168,  # TOO_BIG_AST
        191,  # SET_SIZE_LIMIT_EXCEEDED
        229,  # QUERY_IS_TOO_LARGE
        290,  # LIMIT_EXCEEDED
        307,  # TOO_MANY_BYTES
        396,  # TOO_MANY_ROWS_OR_BYTES
        1016,  # TABLE_SIZE_LIMIT_EXCEEDED
    ),
    Fault.FULL: (
        75,  # CANNOT_WRITE_TO_FILE_DESCRIPTOR
        204,  # CANNOT_FSYNC
        243,  # NOT_ENOUGH_SPACE
        294,  # CANNOT_WRITE_TO_FILE
        641,  # CANNOT_APPEND_TO_FILE
    ),
    Fault.BUSY: (
        95,  # CANNOT_READ_FROM_SOCKET
        96,  # CANNOT_WRITE_TO_SOCKET
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        173,  # CANNOT_ALLOCATE_MEMORY
        201,  # QUOTA_EXCEEDED
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        252,  # TOO_MANY_PARTS
        364,  # RECEIVED_ERROR_TOO_MANY_REQUESTS
        394,  # QUERY_WAS_CANCELLED
        439,  # CANNOT_SCHEDULE_TASK
        473,  # DEADLOCK_AVOIDED
        700,  # USER_SESSION_LIMIT_EXCEEDED
        735,  # QUERY_WAS_CANCELLED_BY_CLIENT
        745,  # SERVER_OVERLOADED
        749,  # TCP_CONNECTION_LIMIT_REACHED
        762,  # HTTP_CONNECTION_LIMIT_REACHED
    ),
    Fault.KEEPER: (
        225,  # NO_ZOOKEEPER
        242,  # TABLE_IS_READ_ONLY
        244,  # UNEXPECTED_ZOOKEEPER_ERROR
        254,  # NO_ACTIVE_REPLICAS
        265,  # NO_AVAILABLE_REPLICA
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        289,  # REPLICA_IS_NOT_IN_QUORUM
        297,  # SHARD_HAS_NO_CONNECTIONS
        319,  # UNKNOWN_STATUS_OF_INSERT
        369,  # ALL_REPLICAS_ARE_STALE
        519,  # NO_REMOTE_SHARD_AVAILABLE
        904,  # TOO_MANY_UNAVAILABLE_SHARDS
        999,  # KEEPER_EXCEPTION
    ),
}
FAULTS: Final[Mapping[int, Fault]] = {code: fault for fault, codes in _CODES.items() for code in codes}

#: The text of each cause, after "ClickHouse at ADDRESS"; `{user}` is the user, or "the user" for a client.
_WORDS: Final[Mapping[Fault, str]] = {
    Fault.BYTES: "refuses values of a frame",
    Fault.LOGIN: "refuses the password of {user}",
    Fault.READONLY: "lets {user} read only: expected a profile with readonly 0",
    Fault.SETTINGS: "refuses a setting to {user}: expected a profile without a constraint on it",
    Fault.RIGHTS: "does not give {user} all the rights that Meterhouse needs",
    Fault.MISSING: "lacks a table, column or database: it is being restored, or was changed by hand",
    Fault.DAMAGED: "met damaged data, or a request was cut on its way",
    Fault.STATEMENT: "does not take a statement of this version of Meterhouse",
    Fault.LIMITS: "refuses it for a limit of the profile of {user}",
    Fault.FULL: "has no room on its disk, or cannot write there",
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
