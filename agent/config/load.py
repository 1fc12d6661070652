"""Reads the settings of all parts of Meterhouse: defaults, then a TOML file, then the environment.

Owns the reading and its error messages. The settings themselves are frozen msgspec Structs of each package
(`agent/settings.py`, `indexer/settings.py`, `shim/settings.py`). Unknown names are refused.
`METERHOUSE_AGENT__FLUSH__DELAY_MS=500` sets `delay_ms` in `[agent.flush]`: prefix, then names separated by
`__`.

Pure: the file's text and the environment are arguments.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from agent.config.convert import convert, is_in
from agent.config.errors import in_file, names_of, reworded
from agent.config.host_port import parse_host_port
from agent.config.variables import settings_in

_MAX_INTEGER: Final = 2**63 - 1
#: Maximum nesting of tables and lists; settings have five levels.
_MAX_DEPTH: Final = 16
#: `[::1]:8126`: it begins as a list of JSON does, but no list is one.
_IPV6_ADDRESS: Final = re.compile(r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%\w+)?\](?::\d+)?")

T = TypeVar("T", bound=msgspec.Struct)


class ConfigError(ValueError):
    """Settings that cannot be used; each line of the text names a source, the setting and the problem."""


def load(
    cls: type[T], toml_text: str = "", environ: Mapping[str, str] | None = None, *, path: str = "settings"
) -> T:
    """Load the settings `cls` from a TOML text and an environment, which wins. Raises ConfigError.

    The error names all problems, one a line. `path` is the name of the text in errors. A file need not be
    complete: tokens may come from the environment.
    """
    try:
        tree: dict[str, Any] = tomllib.loads(toml_text)
    except RecursionError:
        raise ConfigError(f"{path}: nested too deep: at most {_MAX_DEPTH} levels are accepted") from None
    except ValueError as e:  # also a number with thousands of digits
        raise ConfigError(f"{path}: not TOML: {e}") from None
    said, problems = settings_in(environ or {}, cls)
    for name, names in list(said.items()):
        try:
            _put(tree, name, names, _value(name, (environ or {})[name]))
        except ConfigError as e:
            problems.append(str(e))
            del said[name]
    _check_values(tree, path)
    # The environment contains only strings ...
    lenient, found = convert(tree, cls, strict=False)
    settings: T | None = None
    if lenient is not None:
        made = msgspec.to_builtins(lenient)
        for name, names in said.items():
            if is_in(tree, names):
                _put(tree, name, names, _get(made, names))
        # ... but in the file a string in place of a number is an error.
        settings, more = convert(tree, cls, strict=True)
        found += more
    for problem in found:
        variables = _setting(said, names_of(problem))
        problems.append(
            f"{', '.join(variables)}: {reworded(problem)}" if variables else in_file(problem, path, toml_text)
        )
    if settings is None or problems:
        raise ConfigError("\n".join(problems))
    return settings


def check_listen(name: str, text: str) -> None:
    """Raise ValueError unless the setting `name` is `host:port` (`[::1]:80` for IPv6, `:80` for all)."""
    try:
        parse_host_port(text)
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from None


def _check_values(node: Any, where: str, depth: int = 0) -> None:
    """Refuse integers over 64 bits and deep nesting: no setting needs them. Raises ConfigError."""
    if depth > _MAX_DEPTH:
        raise ConfigError(f"{where}: nested too deep: at most {_MAX_DEPTH} tables and lists are accepted")
    if isinstance(node, int) and not -_MAX_INTEGER <= node <= _MAX_INTEGER:
        raise ConfigError(f"{where}: integer out of range: at most {_MAX_INTEGER} is accepted")
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in inside:
        _check_values(value, f"{where}: {name}" if isinstance(name, str) else where, depth + 1)


def _setting(said: Mapping[str, Sequence[str]], names: Sequence[str]) -> list[str]:
    """Return the variables that set the value at `names`, a part of it, or the table that contains it."""
    return [v for v, at in said.items() if all(a == b for a, b in zip(at, names, strict=False))]


def _get(tree: Any, path: Sequence[str]) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _put(tree: dict[str, Any], name: str, path: Sequence[str], value: Any) -> None:
    node = tree
    for part in path[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"{name}: {part} is a value: expected a table")
    node[path[-1]] = value


def _value(name: str, text: str) -> Any:
    """Parse lists and tables as JSON; other text is converted by msgspec later.

    Raises ConfigError, also for bytes that are not UTF-8 (they appear as lone surrogates here).
    """
    for part in (name, text):
        try:
            part.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{ascii(name)[1:-1]}: expected UTF-8") from None
    if text[:1] not in ("[", "{") or _IPV6_ADDRESS.fullmatch(text):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as e:
        raise ConfigError(f"{name}: {e}") from None
    except RecursionError:
        raise ConfigError(f"{name}: JSON nested too deep: at most {_MAX_DEPTH} levels are accepted") from None
