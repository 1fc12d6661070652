"""The environment variables that are settings, and suggestions for those that are not.

`METERHOUSE_AGENT__UDP` is `agent.udp`, `METERHOUSE_AGENT` the whole section as JSON. Kubernetes and Docker
set variables of their own beside a Service called `meterhouse` (`METERHOUSE_SERVICE_HOST`,
`METERHOUSE_PORT_9090_TCP_ADDR`): these service links are ignored. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

PREFIX: Final = "METERHOUSE_"
#: Names the settings file; not a setting itself, despite its prefix.
CONFIG_VARIABLE: Final = "METERHOUSE_CONFIG"
#: Variables of ours that are not settings: the file, and the web page at installation (page_build.py).
_NOT_SETTINGS: Final = frozenset({CONFIG_VARIABLE, "METERHOUSE_PAGE"})
#: A variable that Kubernetes sets for a Service, the part after `METERHOUSE_`. Source: Kubernetes'
#: `pkg/kubelet/envvars`; the name of the Service may go on after `meterhouse`.
_SERVICE_LINK: Final = re.compile(
    r"(?:[A-Z0-9]+_)*?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def settings_in(names: Iterable[str], cls: type[msgspec.Struct]) -> tuple[dict[str, list[str]], list[str]]:
    """Return which variables of `names` are settings of `cls`, each with its path, and the problems."""
    said: dict[str, list[str]] = {}
    problems = []
    sections = {field.name for field in msgspec.structs.fields(cls)}
    for name in sorted(names):
        if not name.startswith(PREFIX) or name in _NOT_SETTINGS:
            continue
        rest = name[len(PREFIX) :]
        if "__" in rest or rest.lower() in sections:
            said[name] = [part.lower() for part in rest.split("__")]
        elif not _SERVICE_LINK.fullmatch(rest):
            problems.append(_unknown(name, cls))
    return said, problems


def _unknown(name: str, cls: type[msgspec.Struct]) -> str:
    shown = ascii(name)[1:-1]
    if shown != name:
        return f"{shown}: expected UTF-8"
    rest = name[len(PREFIX) :].upper()
    known = [path.upper().replace(".", "__") for path in setting_names(cls)]
    flat = {variable.replace("__", "_"): variable for variable in known}
    meant = flat.get(rest) or nearest(rest, [*known, CONFIG_VARIABLE[len(PREFIX) :]])
    hint = f"did you mean {PREFIX}{meant}?" if meant else f"{PREFIX}SECTION__NAME is accepted"
    return f"{name}: not a setting: {hint}"


def setting_names(cls: type[msgspec.Struct]) -> list[str]:
    """Return the names of all settings below `cls`, such as `agent.flush.delay_ms`."""
    return list(_names(msgspec.inspect.type_info(cls), ""))


def _names(kind: Any, path: str) -> Iterator[str]:
    for field in kind.fields if isinstance(kind, msgspec.inspect.StructType) else ():
        below = list(_names(field.type, f"{path}{field.name}."))
        yield from below or [f"{path}{field.name}"]


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the name of `known` that `name` is most like; None if none is close."""
    import difflib  # for errors alone: the agent starts without it

    return next(iter(difflib.get_close_matches(name[:100], known, 1, 0.7)), None)
