"""Prometheus' own functions of templates. Pure: queries go through the function that is given.

Source: Prometheus 3.x `template/template.go`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus, urlsplit

import re2

from shim.model.durations import parse_duration
from shim.rules.templates.go_format import go_text, go_type
from shim.rules.templates.humanize import (
    as_float,
    humanize,
    humanize1024,
    humanize_duration,
    humanize_percentage,
    humanize_timestamp,
)
from shim.rules.templates.template_builtins import BUILTINS

_GROUP: Final = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")
_HOST_PORT: Final = re.compile(r"(?:\[([^\[\]]*)\]|([^\[\]:]*)):([^\[\]:]*)")


#: Characters that replacements may add.
_MAX_REPLACED: Final = 1 << 20


class TemplateSample(NamedTuple):
    """One result of `query`: labels and value."""

    Labels: Mapping[str, str]
    Value: float


class AlertDot(NamedTuple):
    """The dot of an alert's templates."""

    Labels: Mapping[str, str]
    ExternalLabels: Mapping[str, str]
    ExternalURL: str
    Value: float


Query = Callable[[str], Sequence[TemplateSample]]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"wrong type for value; expected string; got {go_type(value)}")
    return value


def _sample(value: Any) -> TemplateSample:
    if not isinstance(value, TemplateSample):
        raise ValueError(f"wrong type for value; expected *template.sample; got {go_type(value)}")
    return value


def _first(samples: Any) -> TemplateSample:
    if not isinstance(samples, list):
        raise ValueError(f"wrong type for value; expected template.queryResult; got {go_type(samples)}")
    if not samples:
        raise ValueError("first() called on vector with no elements")
    return _sample(samples[0])


def _label(name: str, sample: Any) -> str:
    return _sample(sample).Labels.get(_text(name), "")


def _sorted_by(name: str, samples: Any) -> list[TemplateSample]:
    return sorted(samples, key=lambda sample: _label(name, sample))


def _regex(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(_text(pattern), options)
    except re2.error as e:
        raise ValueError(f"error parsing regexp: {e}") from None


def _replaced(pattern: str, replacement: str, text: str) -> str:
    compiled = _regex(pattern)
    out, at, length = [], 0, 0
    for found in compiled.finditer(_text(text)):
        out += [text[at : found.start()], _expanded(_text(replacement), found)]
        at, length = found.end(), length + len(out[-1])
        if length > _MAX_REPLACED:
            raise ValueError(f"more than {_MAX_REPLACED} characters")
    return "".join([*out, text[at:]])


def _expanded(replacement: str, found: Any) -> str:
    """Expand `$1`, `${name}` and `$$` as Go's regexp does; an unknown group is empty."""

    def group(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name is None:
            return "$"
        try:
            return found.group(int(name) if name.isdigit() else name) or ""
        except (IndexError, KeyError, re2.error):
            return ""

    return _GROUP.sub(group, replacement)


def _title(text: str) -> str:
    """Return the text with the first letter of each word in upper case, as Go's strings.Title."""
    return re.sub(r"(?<!\w)\w", lambda m: m[0].title(), _text(text))


def _split(text: str) -> tuple[str, str] | None:
    found = _HOST_PORT.fullmatch(_text(text))
    return (found[1] if found[1] is not None else found[2], found[3]) if found else None


def _strip_port(text: str) -> str:
    found = _split(text)
    return text if found is None else found[0]


def _strip_domain(text: str) -> str:
    host, port = _split(text) or (text, "")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        name = host.partition(".")[0]
        return f"{name}:{port}" if port else name
    return text


def _duration_s(text: str) -> float:
    return parse_duration(_text(text)) / 1000


def _args(*values: Any) -> dict[str, Any]:
    return {f"arg{i}": value for i, value in enumerate(values)}


#: All functions but those that need a query or the external URL.
_FIXED: Final[Mapping[str, Callable[..., Any]]] = {
    **BUILTINS,
    "args": _args,
    "first": _first,
    "graphLink": lambda text: f"/graph?g0.expr={quote_plus(_text(text))}&g0.tab=0",
    "humanize": humanize,
    "humanize1024": humanize1024,
    "humanizeDuration": humanize_duration,
    "humanizePercentage": humanize_percentage,
    "humanizeTimestamp": humanize_timestamp,
    "label": _label,
    "match": lambda pattern, text: _regex(pattern).search(_text(text)) is not None,
    "parseDuration": _duration_s,
    "reReplaceAll": _replaced,
    "safeHtml": _text,
    "sortByLabel": _sorted_by,
    "stripDomain": _strip_domain,
    "stripPort": _strip_port,
    "strvalue": lambda sample: _sample(sample).Labels.get("__value__", ""),
    "tableLink": lambda text: f"/graph?g0.expr={quote_plus(_text(text))}&g0.tab=1",
    "title": _title,
    "toLower": lambda text: _text(text).lower(),
    "toUpper": lambda text: _text(text).upper(),
    "toTime": lambda value: humanize_timestamp(as_float(value)),
    "urlQueryEscape": lambda text: quote_plus(_text(text)),
    "value": lambda sample: _sample(sample).Value,
}
#: The names that templates may call.
FUNCTION_NAMES: Final = frozenset(_FIXED) | {"query", "externalURL", "pathPrefix", "and", "or"}


def functions(query: Query, external_url: str) -> Mapping[str, Callable[..., Any]]:
    """Return all functions; `query` evaluates PromQL at the time of the rule."""
    return {
        **_FIXED,
        "query": lambda text: list(query(_text(text))),
        "externalURL": lambda: external_url,
        "pathPrefix": lambda: urlsplit(external_url).path,
    }


def shown(value: Any) -> str:
    """Return a value as an action writes it."""
    if isinstance(value, TemplateSample):
        return f"{{{go_text(dict(value.Labels))} {go_text(value.Value)}}}"
    if isinstance(value, list):
        return "[" + " ".join(map(shown, value)) + "]"
    return go_text(value)
