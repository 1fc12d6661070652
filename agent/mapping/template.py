"""Templates of names and label values: text with `$1` or `${1}` for captures.

Owns how references are read. Sources: statsd_exporter's formatter for globs, Go's `regexp.Expand` for regular
expressions, which differ:

* Both: a reference is as long as possible, so `$1_total` refers to `1_total`, which does not exist: write
  `${1}_total`. An unknown reference is empty.
* Glob: `$1` is the first `*`; there are no names and no `$0`, and a `$` before a letter or digit is always a
  reference.
* Regex: `$0` is the whole match, `$name` a named group, `$$` a `$`; a `$` before anything else is literal.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

#: Texts, and numbers of captures.
Template = tuple[str | int, ...]

_IN_GLOB = re.compile(r"\$\{?([a-zA-Z0-9_$]+)\}?")
_IN_REGEX = re.compile(r"\$(?:(\$)|([A-Za-z0-9_]+)|\{([A-Za-z0-9_]+)\})")


def for_glob(text: str, stars: int) -> Template:
    """Parse a template for a glob with `stars` stars."""

    def refer(found: re.Match[str]) -> str | int:
        number = _number(found[1])
        return number if 1 <= number <= stars else ""

    return _split(_IN_GLOB, text, refer)


def for_regex(text: str, groups: int, names: Mapping[str, int]) -> Template:
    """Parse a template for a regular expression with `groups` groups, some named."""

    def refer(found: re.Match[str]) -> str | int:
        if found[1]:
            return "$"
        reference = found[2] or found[3]
        number = names.get(reference, _number(reference))
        return number if 0 <= number <= groups else ""

    return _split(_IN_REGEX, text, refer)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else -1


def _split(pattern: re.Pattern[str], text: str, refer: object) -> Template:
    assert callable(refer)
    parts, end = list[str | int](), 0
    for found in pattern.finditer(text):
        parts += (text[end : found.start()], refer(found))
        end = found.end()
    return tuple(part for part in (*parts, text[end:]) if part != "")


def expand(template: Template, captures: Sequence[str]) -> str:
    """Insert the captures into a template; `captures[0]` is the whole match."""
    return "".join(part if isinstance(part, str) else captures[part] for part in template)


def unknown_references(text: str, template: Template) -> bool:
    """Return whether an apparent reference refers to nothing: most likely a mistake."""
    made = sum(isinstance(part, int) for part in template)
    return len(re.findall(r"\$\{?[A-Za-z0-9_]", text.replace("$$", ""))) > made
