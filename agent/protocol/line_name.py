"""The name of a line: where it ends, and the tags that it may hold.

Part of the line grammar; agent/protocol/line.py has the rest and the rules. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

NameTags = Literal["influx", "librato", "signalfx"]

_SET: Final = b"s"
#: Words that are values to others.
_NUMBER_WORDS: Final = (b"nan", b"inf", b"infinity")


def name_bytes(front: bytes, rest: bytes) -> int:
    """Return the length of the name in `front`, which has a `:`; `front | rest` is the line."""
    end = front.index(b":")
    is_set = rest.partition(b"|")[0].partition(b":")[0] == _SET
    while not is_set:
        after = front.find(b":", end + 1)
        if after < 0 or not _is_word(front[end + 1 : after]):
            break
        end = after
    return end


def _is_word(part: bytes) -> bool:
    """Return whether a part between two `:` belongs to the name."""
    is_name = part.replace(b"_", b"a").isalnum() and not part[:1].isdigit()
    return is_name and part.lower() not in _NUMBER_WORDS


def split_name_tags(name: bytes, styles: Sequence[NameTags]) -> tuple[bytes, bytes, bool]:
    """Split a name into the plain name, its tags' text (`k=v,k2=v2`), and False for unmatched brackets.

    Rules and precedence of statsd_exporter:

    1. signalfx: with both a `[` and a `]`, the text between the first `[` and the first `]` is the tags, and
       the text around them the name; influx and librato are not tried. With only one of them, or with the `]`
       first (where statsd_exporter panics), everything is name, malformed, and no other style is tried.
    2. librato and influx: the first `#` (librato) or `,` (influx) ends the name; the rest is tags.

    In all styles tags are separated by `,` and a key ends at the first `=`. A tag without `=`, or without a
    key or value, is left out and counted. Tags in the name together with a `|#` field refuse the line, unless
    all tags in the name were left out. A name that consists only of tags is empty.
    """
    if "signalfx" in styles:
        start, end = name.find(b"["), name.find(b"]")
        if 0 <= start < end:
            return name[:start] + name[end + 1 :], name[start + 1 : end], True
        if start >= 0 or end >= 0:
            return name, b"", False
    marks = (b"#" if "librato" in styles else b"") + (b"," if "influx" in styles else b"")
    for position, byte in enumerate(name):
        if byte in marks:
            return name[:position], name[position + 1 :], True
    return name, b"", True


def has_control_character(text: str) -> bool:
    """Return whether a character of `text` is of Unicode's category Cc."""
    return any(c < " " or "\x7f" <= c <= "\x9f" for c in text)
