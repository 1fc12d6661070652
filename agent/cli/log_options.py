"""The options and settings of logs that all services share, and their reload."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from agent.config.load import ConfigError
from agent.runtime.logs import Log, set_level, set_levels, set_up_all
from agent.settings import LogSettings

#: The meaning of `log.level = "auto"`.
AUTO_OF_AGENT: Final = logging.INFO
AUTO_OF_SERVERS: Final = logging.WARNING
_RELOADED: Final = ("log.level", "log.levels")


class HasLog(Protocol):
    """Settings with the section `[log]`."""

    @property
    def log(self) -> LogSettings:
        """The section."""


def log_options(parser: argparse.ArgumentParser) -> None:
    """Add the options `--log-level`, `--log-format` and `-v`."""
    levels = msgspec.inspect.type_info(LogSettings).fields[1].type.values  # type: ignore[attr-defined]
    parser.add_argument("--log-level", choices=levels, help="log.level of the settings")
    parser.add_argument("--log-format", choices=("text", "json"), help="log.format of the settings")
    parser.add_argument("-v", "--verbose", action="store_const", const="debug", dest="log_level",
                        help="short for --log-level debug")  # fmt: skip


def log_overrides(args: argparse.Namespace) -> dict[str, str]:
    """Return the options as environment variables, which win over the settings file."""
    given = {"METERHOUSE_LOG__LEVEL": args.log_level, "METERHOUSE_LOG__FORMAT": args.log_format}
    return {name: value for name, value in given.items() if value is not None}


def set_up_logs(settings: LogSettings, auto: int) -> None:
    """Log this process to stderr as the settings say."""
    set_up_all(settings.format, settings.level, auto)
    set_levels(settings.levels, auto)


class SettingsReload:
    """An action of a reload: reads the settings again and takes a changed log level.

    Other changed settings need a restart, and the log names them. Settings with an error change nothing.
    """

    def __init__(self, started: HasLog, read: Callable[[], HasLog], auto: int) -> None:
        self._started = started
        self._read = read
        self._auto = auto
        self._log = Log("meterhouse.reload")

    async def __call__(self) -> Sequence[str]:
        """Return the problems of the settings."""
        try:
            found = self._read()
        except ConfigError as e:
            return str(e).splitlines()
        if changed := [name for name in changed_names(self._started, found) if name not in _RELOADED]:
            self._log.warning("settings_changed", needs_restart=",".join(changed))
        set_level(found.log.level, self._auto)  # last, so that the line above is not left out
        set_levels(found.log.levels, self._auto)
        return []


def changed_names(before: object, now: object, path: str = "") -> Iterator[str]:
    """Yield the dotted names of settings that differ; sections of other parts, plain tables, are left out."""
    if isinstance(before, msgspec.Struct) and type(before) is type(now):
        for name in before.__struct_fields__:
            old, new = getattr(before, name), getattr(now, name)
            if path or isinstance(old, msgspec.Struct):
                yield from changed_names(old, new, f"{path}.{name}" if path else name)
    elif before != now:
        yield path
