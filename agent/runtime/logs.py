"""Log lines of the agent: `<time> <level> <event> key=value ...` on stderr.

Owns the format and the throttle. Trouble that every packet may cause is logged at most once in 10 s per
event, with the number of events left out.
"""

from __future__ import annotations

import logging
import time
from typing import Final

LOGGER: Final = "meterhouse.agent"
QUIET_S: Final = 10.0


class Log:
    """Writes events to a logger, by default `meterhouse.agent`. Thread-safe, except the throttle's count."""

    def __init__(self, name: str = LOGGER) -> None:
        self._logger = logging.getLogger(name)
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def info(self, event: str, **fields: object) -> None:
        """Log something an operator wants to know."""
        self._logger.info(line(event, fields))

    def warning(self, event: str, **fields: object) -> None:
        """Log something an operator may have to look at."""
        self._logger.warning(line(event, fields))

    def throttled(self, event: str, **fields: object) -> None:
        """Log a warning at most once in 10 s; `event` is from a closed set, so memory is bounded."""
        now_s = time.monotonic()
        if now_s - self._last.get(event, -QUIET_S) < QUIET_S:
            self._left_out[event] = self._left_out.get(event, 0) + 1
            return
        self._last[event] = now_s
        if left_out := self._left_out.pop(event, 0):
            fields["left_out"] = left_out
        self.warning(event, **fields)


def line(event: str, fields: dict[str, object]) -> str:
    """Format `event key=value ...`; values with blanks or quotes are quoted."""
    parts = [event]
    for key, value in fields.items():
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        parts.append(
            f"{key}={text if text and not set(text) & set(' =') and text.isprintable() else repr(text)}"
        )
    return " ".join(parts)


def setup(level: int = logging.INFO) -> None:
    """Log to stderr, unless a handler is already configured."""
    logger = logging.getLogger(LOGGER)
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s agent %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
