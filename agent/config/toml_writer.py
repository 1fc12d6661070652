"""Writes settings as TOML, so that the output of `check-config` is a valid settings file. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def dumps(tree: Mapping[str, Any]) -> str:
    """Format the tree as TOML; None values are left out because TOML cannot express them."""
    return "\n".join(_section(tree, ()))


def _section(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    plain = {k: v for k, v in tree.items() if not isinstance(v, Mapping) and v is not None}
    if path and (plain or not tree):
        yield f"[{'.'.join(map(_key, path))}]"
    for key, value in plain.items():
        yield f"{_key(key)} = {_value(value)}"
    if plain or (path and not tree):
        yield ""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _section(value, (*path, key))


def _key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())} }}"
    if isinstance(value, float):
        return repr(value)  # including inf and nan, which TOML spells the same way
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
