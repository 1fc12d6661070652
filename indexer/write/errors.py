"""Errors of writing a frame; each is an answer to its sender."""

from __future__ import annotations


class WriteError(Exception):
    """A frame that is not in ClickHouse."""


class Unavailable(WriteError):  # names the answer, like HTTP's
    """Not now: send the same bytes again after `retry_after_s`."""

    def __init__(self, text: str, retry_after_s: int = 1) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Limited(WriteError):  # names the answer, like HTTP's
    """Past a limit of its org: send the same bytes again after `retry_after_s`."""

    def __init__(self, text: str, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Refused(WriteError):  # names the answer, like HTTP's
    """Never: ClickHouse will not take it."""


class Conflict(WriteError):  # names the answer, like HTTP's
    """Never: other bytes were taken under this identity before."""


class TooOld(WriteError):  # names the answer, like HTTP's
    """Never: the frame is so old that it is unknown whether it is stored."""
