"""The regular expressions of a mapping, matched together in linear time.

Owns the use of RE2: one query finds which expressions match, then the selected one extracts its captures. RE2
and not Python's `re`, because names come from any sender: an expression in statsd_exporter's README takes
`re` seconds for one name of 512 bytes, others hours. RE2 never backtracks, and its syntax is that of
statsd_exporter (Go's). Imported only if a rule has one: RE2 costs memory and start-up time.

Pure; thread-safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import re2

from agent.mapping.rule import Regex, RegexError

#: Memory limits of RE2 for one expression, and for all expressions of a file together.
MAX_EXPRESSION_BYTES: Final = 8 << 20
MAX_SET_BYTES: Final = 64 << 20


def parse(text: str) -> Regex:
    """Parse an expression in RE2's syntax. Raises RegexError."""
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
    """A set of expressions, identified by their index. Raises RegexError if they are too large."""

    def __init__(self, expressions: Sequence[Regex]) -> None:
        self._compiled = [_compile(expression.text) for expression in expressions]
        self._all = re2.Set.SearchSet(_options(MAX_SET_BYTES))
        for expression in expressions:
            self._all.Add(expression.text)
        try:
            self._all.Compile()
        except re2.error:
            raise RegexError(
                f"all expressions together are too large for RE2: at most {MAX_SET_BYTES} bytes are accepted"
            ) from None

    def matching(self, name: str) -> list[int]:
        """Return the indexes of the expressions that match anywhere in `name`, ascending."""
        return sorted(self._all.Match(name) or ())  # None if nothing matches

    def captures(self, place: int, name: str) -> tuple[str, ...] | None:
        """Return the match of one expression and its groups (empty if unmatched); None without a match."""
        found = self._compiled[place].search(name)
        return None if found is None else (found[0], *(group or "" for group in found.groups()))
