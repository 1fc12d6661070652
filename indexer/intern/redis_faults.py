"""Names the reasons of failed calls of Redis, for metrics. Pure."""

from __future__ import annotations

from typing import Final, Literal

from redis import exceptions as faults

RedisFault = Literal["timeout", "away", "denied", "read_only", "memory", "wrong_type", "other"]

#: The errors that a call may raise: another service at that address may answer bytes that cannot be decoded.
REDIS_ERRORS: Final = (faults.RedisError, OSError, ValueError)

#: Errors of scripts and of older servers have only a text.
_BY_TEXT: Final[dict[str, RedisFault]] = {
    "WRONGTYPE": "wrong_type",
    "NOAUTH": "denied",
    "READONLY": "read_only",
    "OOM": "memory",
}


def redis_fault(error: BaseException) -> RedisFault:
    """Return the reason of a failed call."""
    if isinstance(error.__cause__, faults.RedisError):  # the asynchronous client wraps some errors
        return redis_fault(error.__cause__)
    match error:
        case faults.TimeoutError():
            return "timeout"
        case faults.AuthenticationError() | faults.NoPermissionError():
            return "denied"
        case faults.ReadOnlyError():
            return "read_only"
        case faults.OutOfMemoryError():
            return "memory"
        case faults.ConnectionError() | OSError():
            return "away"
    text = str(error)
    if "not an integer" in text or "would overflow" in text:  # a charge that is another program's value
        return "wrong_type"
    return _BY_TEXT.get(text.partition(" ")[0], "other")
