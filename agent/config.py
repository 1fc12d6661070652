"""How every part of Meterhouse reads its settings: defaults, then a TOML file, then the environment.

Owns the reading and its error messages; which settings there are is said by the frozen msgspec Structs of
each package (`agent/settings.py`, `indexer/settings.py`, `shim/settings.py`). Unknown names are refused.
`METERHOUSE_AGENT__FLUSH__DELAY_MS=500` sets `delay_ms` in `[agent.flush]`: prefix, then names parted by `__`.

Pure: the file's text and the environment are arguments.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

PREFIX: Final = "METERHOUSE_"

T = TypeVar("T", bound=msgspec.Struct)


class ConfigError(ValueError):
    """A setting that cannot be used; the text names it (`Expected int, got str - at $.agent.udp`)."""


def load(cls: type[T], toml_text: str = "", environ: Mapping[str, str] | None = None) -> T:
    """The settings `cls` from a TOML text and an environment; the environment wins. Raises ConfigError."""
    try:
        tree: dict[str, Any] = tomllib.loads(toml_text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"not TOML: {e}") from None
    _convert(tree, cls, strict=True)  # a string in the file where a number is meant is wrong ...
    for name, text in sorted((environ or {}).items()):
        if name.startswith(PREFIX):
            _put(tree, name, [part.lower() for part in name[len(PREFIX) :].split("__")], text)
    return _convert(tree, cls, strict=False)  # ... the environment has nothing but strings


def _convert(tree: Any, cls: type[T], *, strict: bool) -> T:
    try:
        return msgspec.convert(tree, cls, strict=strict)
    except msgspec.ValidationError as e:
        raise ConfigError(str(e)) from None


def _put(tree: dict[str, Any], name: str, path: list[str], text: str) -> None:
    node = tree
    for part in path[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"{name}: {part} is a value, not a table")
    node[path[-1]] = _value(name, text)


def _value(name: str, text: str) -> Any:
    """Lists and tables are written as JSON; everything else stays text, and msgspec makes the type of it."""
    if text[:1] not in ("[", "{"):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as e:
        raise ConfigError(f"{name}: {e}") from None
