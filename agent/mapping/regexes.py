"""The regular expressions of a mapping, many at a time, in linear time.

Owns how RE2 is asked: all expressions at once which of them match, then the one that holds what it captured.
RE2 and not Python's `re`, because names come from whoever can send a packet: an expression of
statsd_exporter's README takes `re` seconds for one name of 512 bytes, others hours. RE2 never goes back in
the text, and its syntax is that of statsd_exporter (Go's). Imported only where a rule has one: RE2 is
memory, and time at the start.

Pure; thread-safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import re2

from agent.mapping.rule import Regex, RegexError

#: What RE2 may take for one expression, and for all expressions of a file together.
MAX_EXPRESSION_BYTES: Final = 8 << 20
MAX_SET_BYTES: Final = 64 << 20


def parse(text: str) -> Regex:
    """The expression in `text`, in RE2's syntax. Raises RegexError."""
    compiled = _compile(text)
    return Regex(text, compiled.groups, dict(compiled.groupindex))


def _options(max_bytes: int) -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = max_bytes
    return options


def _compile(text: str) -> re2._Regexp:
    try:
        return re2.compile(text, _options(MAX_EXPRESSION_BYTES))
    except re2.error as e:
        reason = e.args[0]
        raise RegexError(reason.decode() if isinstance(reason, bytes) else str(reason)) from None


class RegexSet:
    """Expressions, known by their place in the sequence. Raises RegexError if they are too large."""

    def __init__(self, expressions: Sequence[Regex]) -> None:
        self._compiled = [_compile(expression.text) for expression in expressions]
        self._all = re2.Set.SearchSet(_options(MAX_SET_BYTES))
        for expression in expressions:
            self._all.Add(expression.text)
        try:
            self._all.Compile()
        except re2.error:
            raise RegexError(f"together they take RE2 more than {MAX_SET_BYTES} bytes") from None

    def matching(self, name: str) -> list[int]:
        """The places of the expressions that match anywhere in `name`, in order."""
        return sorted(self._all.Match(name) or ())  # None: nothing matches

    def captures(self, place: int, name: str) -> tuple[str, ...] | None:
        """What one expression matched, then what its groups did (empty if they did not); None: no match."""
        found = self._compiled[place].search(name)
        return None if found is None else (found[0], *(group or "" for group in found.groups()))
