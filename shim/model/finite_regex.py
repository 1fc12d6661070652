"""The strings a regular expression matches, where they are few. Pure.

A dashboard writes `le=~"0.1|0.3"` and means these values. Source: Prometheus' own FastRegexMatcher
(`findSetMatches`), with optional parts and repetitions added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

#: Strings one expression may stand for.
MAX_STRINGS: Final = 1_000
_MAX_DEPTH: Final = 50
_PUNCTUATION: Final = frozenset("\\.+*?()[]{}|^$-/")
_DIGITS: Final = tuple("0123456789")


class _NotFiniteError(Exception):
    """Too many strings, or syntax that is not read here."""


def finite_strings(pattern: str) -> tuple[str, ...] | None:
    """Return the strings that a fully anchored RE2 pattern matches, each once; None if there are many.

    An unescaped `.` counts as a literal dot, which it also matches.
    """
    parser = _Parser(pattern)
    try:
        found = parser.alternation(0)
    except _NotFiniteError:
        return None
    return tuple(dict.fromkeys(found)) if parser.at_end else None


@dataclass(slots=True)
class _Parser:
    """A recursive descent over the pattern; each method returns the strings of the part it read."""

    text: str
    at: int = 0

    @property
    def at_end(self) -> bool:
        return self.at == len(self.text)

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self, token: str) -> bool:
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def alternation(self, depth: int) -> Sequence[str]:
        """Parse `a|b`."""
        if depth > _MAX_DEPTH:
            raise _NotFiniteError
        found = list(self._concatenation(depth))
        while self._take("|"):
            found += self._concatenation(depth)
            if len(found) > MAX_STRINGS:
                raise _NotFiniteError
        return found

    def _concatenation(self, depth: int) -> Sequence[str]:
        found: Sequence[str] = ("",)
        while not self.at_end and self._peek() not in "|)":
            found = _joined(found, self._repeated(self._atom(depth)))
        return found

    def _atom(self, depth: int) -> Sequence[str]:
        if self._take("("):
            if self._take("?") and not self._take(":"):
                raise _NotFiniteError
            found = self.alternation(depth + 1)
            if not self._take(")"):
                raise _NotFiniteError
            return found
        if self._take("["):
            return self._character_class()
        if (self.at == 0 and self._take("^")) or (self.text[self.at :] == "$" and self._take("$")):
            return ("",)
        if self._peek() in "^$*+?{":
            raise _NotFiniteError
        return self._character()

    def _character(self) -> Sequence[str]:
        """Parse one character, or those of `\\d`."""
        if not self._take("\\"):
            self.at += 1
            return (self.text[self.at - 1],)
        if self._take("d"):
            return _DIGITS
        found = self._peek()
        if found not in _PUNCTUATION or not found:
            raise _NotFiniteError
        self.at += 1
        return (found,)

    def _character_class(self) -> Sequence[str]:
        """Parse a bracket expression: characters and ranges of them."""
        if self._peek() == "^" or self.text.startswith("[:", self.at):
            raise _NotFiniteError
        found: list[str] = []
        while not found or self._peek() != "]":
            if self.at_end:
                raise _NotFiniteError
            one = self._character()
            if (
                len(one) == 1
                and self._peek() == "-"
                and self.text[self.at + 1 : self.at + 2] not in ("]", "")
            ):
                self.at += 1
                (last,) = self._character()[:1]
                if ord(last) - ord(one[0]) > MAX_STRINGS:
                    raise _NotFiniteError
                one = [chr(code) for code in range(ord(one[0]), ord(last) + 1)]
            found += one
        self.at += 1
        return tuple(dict.fromkeys(found))

    def _repeated(self, atom: Sequence[str]) -> Sequence[str]:
        """Parse an atom with the `?`, `{n}` or `{n,m}` after it; `*`, `+` and `{n,}` are not finite."""
        found = atom
        if self._take("?"):
            found = (*atom, "")
        elif self._take("{"):
            found = self._counted(atom)
        if found is not atom:
            self._take("?")  # lazy: the same strings
        if not self.at_end and self._peek() in "*+?{":
            raise _NotFiniteError
        return found

    def _counted(self, atom: Sequence[str]) -> Sequence[str]:
        counts, closed, rest = self.text[self.at :].partition("}")
        low, comma, high = counts.partition(",")
        if not (closed and low.isdecimal() and (high.isdecimal() or not comma)) or len(counts) > 5:
            raise _NotFiniteError
        self.at = len(self.text) - len(rest)
        first, last = int(low), int(high or low)
        found: list[str] = []
        repeated: Sequence[str] = ("",)
        for count in range(last + 1):
            if count >= first:
                found += repeated
            if count < last:
                repeated = _joined(repeated, atom)
        if len(found) > MAX_STRINGS:
            raise _NotFiniteError
        return found


def _joined(left: Sequence[str], right: Sequence[str]) -> Sequence[str]:
    if len(left) * len(right) > MAX_STRINGS or len(left[0] if left else "") > MAX_STRINGS:
        raise _NotFiniteError
    return tuple(a + b for a, b in product(left, right))
