"""The table of all settings, made from the settings' own source; README.md holds it between two markers.

python -m tests.support.settings_table    writes it there
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

README: Final = Path(__file__).parents[2] / "README.md"
BEGIN: Final = "<!-- settings: written by python -m tests.support.settings_table -->"
END: Final = "<!-- end of settings -->"
_FIELD = re.compile(r"    (\w+):[^#]*?(?:#:?\s*(?P<comment>.*))?$")


def rows(root: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted name, default as TOML, what it is) of every setting below `root`."""
    said = _comments(root)
    for field in msgspec.structs.fields(root):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        name = f"{path}{field.name}"
        if isinstance(default, msgspec.Struct):
            yield from rows(type(default), f"{name}.")
        else:
            yield name, _toml(default), said.get(field.name, "")


def _toml(value: Any) -> str:
    return "(none)" if value is None else json.dumps(msgspec.to_builtins(value), ensure_ascii=False)


def _comments(cls: type[msgspec.Struct]) -> dict[str, str]:
    """Field -> its `#:` lines above, or the comment behind it."""
    above: list[str] = []
    out: dict[str, str] = {}
    for line in inspect.getsource(cls).splitlines():
        if line.strip().startswith("#:"):
            above.append(line.strip()[2:].strip())
        elif m := _FIELD.match(line):
            out.setdefault(m[1], " ".join(above) or (m["comment"] or "").strip())
            above = []
    return out


def table() -> str:
    """The whole table as Markdown."""
    from shim.command import File

    lines = ["| setting | default | what it is |", "|---|---|---|"]
    for name, default, text in rows(File):
        lines.append(f"| `{name}` | `{default}` | {text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def in_readme() -> str:
    """The table that README.md holds."""
    text = README.read_text()
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()


def main() -> None:
    text = README.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    README.write_text(f"{head}{BEGIN}\n\n{table()}\n\n{END}{tail}")


if __name__ == "__main__":
    main()
