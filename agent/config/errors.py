"""Completes errors about settings: where it was set (the file's line or the variable), the key and the value.

Works on the texts of msgspec's errors (`Expected int, got str - at $.agent.flush.delay_ms`) and of our own
checks, which begin with the setting's name. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from agent.config.secrets import is_secret
from agent.config.variables import nearest, setting_names

#: How problems name a setting.
_PATH: Final = re.compile(
    r"(?:unknown field `(?P<field>\w+)`.*)?at `\$\.?(?P<path>[^`]*)`"
    r"|unknown field `(?P<top>\w+)`|^(?P<setting>agent[\w.]*) = "
)
#: The end of a problem that shows the value, and msgspec's place with the hint after it.
_VALUE: Final = re.compile(r" \(it is (?P<value>.*)\)\Z", re.DOTALL)
_PLACE: Final = re.compile(r"(?P<what>.*?) - at `\$\.?(?P<path>[^`]*)`(?P<hint>.*)", re.DOTALL)
#: A fault of a name in a table: a key that the setting does not accept.
_KEY: Final = re.compile(r"Expected `str`.*? (?P<how>matching regex .*) - at `key` in `\$\.?(?P<path>[^`]*)`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`(?P<hint>.*)", re.DOTALL)
_TYPES: Final[Mapping[str, str]] = {
    "int": "an integer", "float": "a number", "str": "a string", "bool": "true or false",
    "object": "a table", "array": "a list", "null": "nothing",
}  # fmt: skip
#: Settings that may contain passwords, besides secrets: their values are not shown.
_URLS: Final = frozenset({"dsn", "redis_url", "url"})
#: Settings of a section that are listed where an unknown one is like none of them.
_MAX_LISTED: Final = 12


def names_of(problem: str) -> list[str]:
    """Return the path of the setting or section that a problem is about; empty if it names none."""
    found = _PATH.search(problem)
    if found is None:
        return []
    path = re.sub(r"\[[^\]]*\]", "", found["path"] or found["setting"] or "")  # `tags[...]`: the whole table
    names = [name for name in (*path.split("."), found["field"] or found["top"]) if name]
    ours = re.match(r"(\w+)[ :].* - at `", problem)  # a check of a section names the field first
    return [*names, ours[1]] if ours and ours[1].islower() else names


def with_accepted(problem: str, cls: type[msgspec.Struct]) -> str:
    """Return the problem with the accepted values of a closed set, or the setting that a name may mean."""
    names = names_of(problem)
    if "unknown field `" in problem and names:
        return f"{problem}: {_meant(names, cls)}"
    if not problem.startswith("Invalid enum value "):
        return problem
    kind = _type_at(names, cls)
    kind = getattr(kind, "item_type", getattr(kind, "value_type", kind))  # of a list or table: of its items
    if not isinstance(kind, msgspec.inspect.LiteralType):
        return problem
    accepted = " or ".join(json.dumps(value) for value in kind.values)
    return problem.replace(" - at ", f": expected {accepted} - at ", 1)


def _type_at(names: Sequence[str], cls: type[msgspec.Struct]) -> Any:
    kind: Any = msgspec.inspect.type_info(cls)
    for name in names:
        fields = kind.fields if isinstance(kind, msgspec.inspect.StructType) else ()
        kind = next((field.type for field in fields if field.name == name), None)
    return kind


def _meant(names: Sequence[str], cls: type[msgspec.Struct]) -> str:
    """Suggest a setting for the unknown one at `names`: of its section, then of the same name elsewhere."""
    *section, name = names
    accepted = [field.name for field in getattr(_type_at(section, cls), "fields", ())]
    if close := nearest(name, accepted):
        return f"did you mean `{close}`?"
    elsewhere = [known for known in setting_names(cls) if known.rpartition(".")[2] == name]
    if elsewhere:
        return f"did you mean {' or '.join(f'`{known}`' for known in elsewhere[:3])}?"
    few = 0 < len(accepted) <= _MAX_LISTED
    return f"expected {' or '.join(accepted)}" if few else "expected a setting of docs/settings.md"


def with_value(problem: str, tree: Mapping[str, Any]) -> str:
    """Append the setting's value to the problem, if it is a single value and not a secret."""
    names = names_of(problem)
    value: Any = tree
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    hide = any(name in _URLS or is_secret(name) for name in names)
    if not names or hide or not isinstance(value, str | int | float):
        return problem
    shown = json.dumps(value, ensure_ascii=False)
    return f"{problem} (it is {shown if len(shown) <= 100 else shown[:100] + '...'})"


def reworded(problem: str) -> str:
    """Return a problem as our own checks write it: `agent.udp = 5: expected a string, got an integer`.

    The setting and its value come first. A text of another form is returned as it is.
    """
    found = _VALUE.search(problem)
    text, shown = (problem[: found.start()], f" = {found['value']}") if found else (problem, "")
    if key := _KEY.fullmatch(text):
        return f"{key['path']}: a name in it: expected one {key['how']}"
    at = _PLACE.fullmatch(text)
    what, path, hint = (at["what"], at["path"], at["hint"]) if at else (text, "", "")
    if unknown := _UNKNOWN.fullmatch(what):
        where = f"{path}.{unknown['name']}" if path else unknown["name"]
        return f"{where}{shown}: no such setting{unknown['hint']}{hint}"
    if at is None:
        return problem
    if own := re.match(r"([a-z]\w*): ", what):  # a check of a section names the setting first
        path, what = f"{path}.{own[1]}" if path else own[1], what[own.end() :]
    elif re.match(r"[a-z]", what):  # a check of several settings: the value is of one of them
        shown = ""
    elif what == "Integer value out of range":
        what = "expected a smaller integer"
    elif what.startswith("Invalid enum value "):
        what = what[what.find("expected ") :]
    elif what.startswith("Expected "):
        what = re.sub(r"(\d)\.0\b", r"\1", re.sub("`([^`]*)`", _type_words, f"e{what[1:]}"))
    return f"{path or 'the file'}{shown}: {what}{hint}"


def _type_words(types: re.Match[str]) -> str:
    return " or ".join(_TYPES.get(name, f"`{name}`") for name in types[1].split(" | "))


def in_file(problem: str, path: str, toml_text: str) -> str:
    """Prefix the problem with the file and line that set the value, or with the line of its section."""
    names = names_of(problem)
    line = line_of(names, toml_text) or line_of(names[:-1], toml_text)
    return f"{path}:{line}: {reworded(problem)}" if line else f"{path}: {reworded(problem)}"


def line_of(names: Sequence[str], toml_text: str) -> int:
    """Return the line (from 1) of a key or table in a TOML text; 0 if it is not found."""
    table: list[str] = []
    best = 0
    for number, line in enumerate(toml_text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = [part.strip(" \"'") for part in header[1].split(".")]
            if table == list(names):
                best = best or number
        elif key := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            path = [*table, *(part.strip("\"'") for part in key[1].split("."))]
            if path == list(names[: len(path)]) and len(path) > len(table):
                return number
    return best
