"""Parts that all subcommands share: reading settings and reporting errors.

Exit codes: 0 done, 1 failed, 2 the command line or the settings are wrong.
"""

from __future__ import annotations

import argparse
import math
import os
import stat
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from agent.config.host_port import parse_host_port
from agent.config.load import ConfigError, load
from agent.config.secrets import secrets_in
from agent.config.variable_files import with_files
from agent.config.variables import CONFIG_VARIABLE

#: The API's address where no setting and no option says another one.
DEFAULT_API_URL: Final = "http://127.0.0.1:9090"

T = TypeVar("T", bound=msgspec.Struct)


def config_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--config FILE`."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=os.environ.get(CONFIG_VARIABLE),
        help=f"TOML file with [agent], [indexer], [shim] (default: ${CONFIG_VARIABLE}, else none)",
    )


def read_settings(cls: type[T], path: str | None, over: Mapping[str, str] | None = None) -> T:
    """Read settings from the file at `path`, the environment, and `over` (same form as the environment).

    Variables may name files (agent/config/variable_files.py). Raises agent.config.load.ConfigError, also when
    a file cannot be read.
    """
    try:
        text = Path(path).read_text() if path else ""
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: {e}; expected UTF-8") from None
    environ = with_files({**os.environ, **(over or {})}, cls)
    settings = load(cls, text, environ, path=path or "settings")
    if path and Path(path).stat().st_mode & stat.S_IROTH and (found := secrets_in(tomllib.loads(text))):
        held = ", ".join(found)
        print(
            f"warning: {path}: holds secrets ({held}), readable by all users: expected mode 600 (chmod 600)",
            file=sys.stderr,
        )
    return settings


def address(text: str, min_port: int = 1) -> tuple[str, int]:
    """Parse `HOST:PORT` or `[IPV6]:PORT`, for argparse; `min_port` 0 allows a free port."""
    try:
        return parse_host_port(text, min_port)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT") from None


def positive(text: str) -> float:
    """Parse a finite number above 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")
    return value


def report_error(command: str, problem: object, code: int) -> int:
    """Print an error for the user, each of its lines after the command's name; return `code`."""
    if isinstance(problem, OSError) and problem.strerror:
        problem = problem.strerror  # without the errno prefix
    for line in str(problem).splitlines() or [""]:
        print(f"meterhouse {command}: {line}", file=sys.stderr)
    return code
