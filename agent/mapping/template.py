"""Names and label values of a mapping: text with `$1` or `${1}` where captures go.

Owns how references are read. Sources: statsd_exporter's formatter for globs, Go's `regexp.Expand` for
regular expressions, which differ:

* Both: a reference is as long as it can be, so `$1_total` refers to `1_total`, which is nothing: write
  `${1}_total`. A reference to nothing is empty.
* Glob: `$1` is the first `*`; there are no names, no `$0`, and no `$` itself before a letter or digit.
* Regex: `$0` is all that matched, `$name` a named group, `$$` a `$`; a `$` before anything else is itself.

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
    """The template in `text` for a glob of so many `*`."""

    def refer(found: re.Match[str]) -> str | int:
        number = _number(found[1])
        return number if 1 <= number <= stars else ""

    return _split(_IN_GLOB, text, refer)


def for_regex(text: str, groups: int, names: Mapping[str, int]) -> Template:
    """The template in `text` for a regular expression of so many groups, some with names."""

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
    """The text with what was captured; `captures[0]` is all that matched."""
    return "".join(part if isinstance(part, str) else captures[part] for part in template)


def unknown_references(text: str, template: Template) -> bool:
    """True if something that looks like a reference refers to nothing: most likely a mistake."""
    made = sum(isinstance(part, int) for part in template)
    return len(re.findall(r"\$\{?[A-Za-z0-9_]", text.replace("$$", ""))) > made
