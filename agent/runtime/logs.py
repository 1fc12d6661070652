"""Log lines: `<time> <level> <part> <event> key=value ...` on stderr, or JSON objects.

Owns their set-up and the throttle. Trouble that every packet may cause is logged at most once in 10 s per
event, with the number of events left out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final, Literal

from agent.runtime.log_formats import SAID, JsonLogFormat, TextLogFormat

Level = Literal["auto", "debug", "info", "warning", "error"]
LOGGER: Final = "meterhouse.agent"
#: The loggers of the product. Libraries log warnings and errors alone: their details may hold secrets.
_OURS: Final = ("meterhouse", "indexer", "shim")
QUIET_S: Final = 10.0


class Log:
    """Writes events to a logger, by default `meterhouse.agent`. Thread-safe, except the throttle's count."""

    def __init__(self, name: str = LOGGER) -> None:
        self._logger = logging.getLogger(name)
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def info(self, event: str, **fields: object) -> None:
        """Log something an operator wants to know."""
        self._logger.info(line(event, fields), extra=_said(event, fields))

    def warning(self, event: str, **fields: object) -> None:
        """Log something an operator may have to look at."""
        self._logger.warning(line(event, fields), extra=_said(event, fields))

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


def _said(event: str, fields: dict[str, object]) -> dict[str, Any]:
    return {SAID: (event, fields)}


def set_up_all(form: Literal["text", "json"], level: Level, auto: int) -> None:
    """Log all parts of this process to stderr; `auto` is the level that `auto` means."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLogFormat() if form == "json" else TextLogFormat())
    handler.addFilter(_is_shown)
    logging.getLogger().addHandler(handler)
    set_level(level, auto)


def _is_shown(record: logging.LogRecord) -> bool:
    """Return whether a line is shown: not one of a library that keeps silent unless asked (a NullHandler).

    They repeat at each attempt the fault that our own lines tell once a minute.
    """
    top = record.name.partition(".")[0]
    silent = any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger(top).handlers)
    return top in _OURS or not silent


def set_level(level: Level, auto: int) -> None:
    """Leave out lines below a level from now on."""
    number = _number(level, auto)
    for name in _OURS:
        logging.getLogger(name).setLevel(number)
    logging.getLogger().setLevel(max(number, logging.WARNING))


def set_levels(levels: Mapping[str, Level], auto: int) -> None:
    """Give single parts levels of their own from now on, and all others that of the whole."""
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and "." in name and name.partition(".")[0] in _OURS:
            logger.setLevel(logging.NOTSET)
    for name, level in levels.items():
        logging.getLogger(_logger_of(name)).setLevel(_number(level, auto))


def _logger_of(part: str) -> str:
    """Return the logger of a part: those of the agent begin with `meterhouse`."""
    return f"meterhouse.{part}" if part.partition(".")[0] == "agent" else part


def _number(level: Level, auto: int) -> int:
    return auto if level == "auto" else logging.getLevelNamesMapping()[level.upper()]


def setup(level: int = logging.INFO) -> None:
    """Log the agent to stderr, unless a handler is already configured."""
    logger = logging.getLogger(LOGGER)
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(TextLogFormat())
    logger.addHandler(handler)
    logger.setLevel(level)
