"""Why a frame is not stored: the errors of writing, named after the answers they become. Pure."""

from __future__ import annotations

from typing import Final

TOO_OLD: Final = "created_ms: so old that it is not known whether the frame is stored"


class WriteError(Exception):
    """The frame is not in ClickHouse."""


class Unavailable(WriteError):  # names the answer, like HTTP's
    """Not now: the sender sends the same bytes again after `retry_after_s`.

    `begun`: False if no part of the frame is stored, or will be unless it is sent again.
    """

    def __init__(self, text: str, retry_after_s: int = 1, *, begun: bool = True) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s
        self.begun = begun


class Limited(WriteError):  # names the answer, like HTTP's
    """Past a limit of its org: the sender sends the same bytes again after `retry_after_s`.

    `begun`: True if a part of the frame is stored.
    """

    def __init__(self, text: str, retry_after_s: int, *, begun: bool = False) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s
        self.begun = begun


class Refused(WriteError):  # names the answer, like HTTP's
    """Never: ClickHouse refuses its bytes."""


class Conflict(WriteError):  # names the answer, like HTTP's
    """Never: other bytes were taken under this identity before."""

    reason, counted = "conflict", 1


class TooOld(WriteError):  # names the answer, like HTTP's
    """Never: so old that it may be stored; it is kept for a person. `again`: it was told before."""

    reason = "too_old"

    def __init__(self, *, again: bool) -> None:
        super().__init__(TOO_OLD)
        self.counted = 0 if again else 1
