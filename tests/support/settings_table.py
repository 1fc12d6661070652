"""The table of all settings, made from the settings' own source; docs/settings.md holds it.

python -m tests.support.settings_table    writes it there
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, Final, get_type_hints

import msgspec

from shim.cli.serve import File
from tests.support.markdown import ROOT, table, write_between

FILE: Final = ROOT / "docs" / "settings.md"
MARK: Final = "tests.support.settings_table"
_FIELD = re.compile(r"    (\w+):[^#]*?(?:#:?\s*(?P<comment>.*))?$")

Row = tuple[str, str, str]


def rows(root: type[msgspec.Struct] = File, path: str = "") -> Iterator[Row]:
    """Yield (dotted name, default as TOML, description) of every setting below `root`."""
    said = _comments(root)
    for field in msgspec.structs.fields(root):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        name = f"{path}{field.name}"
        if isinstance(default, msgspec.Struct):
            yield from rows(type(default), f"{name}.")
        else:
            yield name, _toml(default), said.get(field.name) or _description(root, field.name)


def _toml(value: Any) -> str:
    return "(none)" if value is None else json.dumps(msgspec.to_builtins(value), ensure_ascii=False)


def _description(cls: type[msgspec.Struct], name: str) -> str:
    """Return the description in a field's type, for structs that are made of records; empty for none."""
    metadata = getattr(get_type_hints(cls, include_extras=True)[name], "__metadata__", ())
    return next((m.description for m in metadata if isinstance(m, msgspec.Meta) and m.description), "")


def _comments(cls: type[msgspec.Struct]) -> dict[str, str]:
    """Map each field to its `#:` lines above, or to the comment after it."""
    above: list[str] = []
    out: dict[str, str] = {}
    for line in inspect.getsource(cls).splitlines():
        if line.strip().startswith("#:"):
            above.append(line.strip()[2:].strip())
        elif m := _FIELD.match(line):
            out.setdefault(m[1], " ".join(above) or (m["comment"] or "").strip())
            above = []
    return out


def settings() -> str:
    """Return the whole table as Markdown."""
    cells = [(f"`{name}`", f"`{default}`", text) for name, default, text in rows()]
    return table(("setting", "default", "meaning"), cells)


if __name__ == "__main__":
    write_between(FILE, MARK, settings())
