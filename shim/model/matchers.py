"""Label matchers as in Prometheus: regexes are RE2, anchored at both ends, and `.` matches a newline.

RE2 runs in linear time, so no pattern can block a worker. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, Protocol

import re2

from shim.model.errors import BadData

MatchOp = Literal["=", "!=", "=~", "!~"]


#: Patterns up to this many characters are cached by the hundred, longer ones a few: a compiled pattern takes
#: up to 8 MiB.
_LONG: Final = 1_000
#: One literal alternative: it contains no operator of a regular expression.
_LITERAL: Final = r"(?:[^\\.+*?()\[\]{}|^$]|\\[!-/:-@\[-^`{-~])*+"
_LITERALS: Final = re.compile(rf"{_LITERAL}(?:\|{_LITERAL})*+", re.DOTALL)
#: One literal, anything or something before and after it: `api-.*`, `.+error.*`, `.*`.
_AROUND: Final = re.compile(rf"(\.[*+])?({_LITERAL})(\.[*+])?", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


class Pattern(Protocol):
    """A compiled regular expression."""

    def search(self, text: str, /) -> object | None:
        """Return None if the whole text does not match."""


class _OneOf:
    """A long list of literal alternatives, as Grafana sends for variables with many values."""

    def __init__(self, values: frozenset[str]) -> None:
        self._values = values

    def search(self, text: str, /) -> object | None:
        return text if text in self._values else None


@dataclass(frozen=True, slots=True)
class _Around:
    """A literal with at least `before` and `after` characters around it; None: exactly none.

    RE2 takes 40 times as long to start as this comparison takes.
    """

    literal: str
    before: int | None
    after: int | None

    def search(self, text: str, /) -> object | None:
        before, after = self.before or 0, self.after or 0
        if len(text) < before + len(self.literal) + after:
            return None
        if self.before is None:
            met = text.startswith(self.literal) and (self.after is not None or len(text) == len(self.literal))
        elif self.after is None:
            met = text.endswith(self.literal)
        else:
            met = text.find(self.literal, before, len(text) - after) >= 0
        return text if met else None


@lru_cache(maxsize=1024)
def _around(pattern: str) -> _Around | None:
    """Return the pattern as a literal with wildcards around it; None for other patterns."""
    found = _AROUND.fullmatch(pattern)
    if found is None:
        return None
    before, literal, after = found.groups()
    sides = (None if wild is None else int(wild == ".+") for wild in (before, after))
    return _Around(_ESCAPED.sub(r"\1", literal), *sides)


def alternatives(pattern: str) -> frozenset[str] | None:
    """Return the texts that a pattern of the form `a|b\\.c` matches; None for other patterns."""
    if not _LITERALS.fullmatch(pattern):
        return None
    return frozenset(_ESCAPED.sub(r"\1", one) for one in pattern.split("|")) if "\\|" not in pattern else None


def compile_regex(pattern: str) -> Pattern:
    """Compile the pattern, anchored. Raises BadData if RE2 refuses it."""
    return _compiled(pattern) if len(pattern) <= _LONG else _compiled_long(pattern)


def _test_of(pattern: str) -> Pattern:
    """Return the cheapest test whether a text matches the pattern."""
    return (_around(pattern) if len(pattern) <= _LONG else None) or compile_regex(pattern)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re2._Regexp:
    return _re2(pattern)


@lru_cache(maxsize=16)
def _compiled_long(pattern: str) -> Pattern:
    values = alternatives(pattern)
    return _re2(pattern) if values is None else _OneOf(values)


def _re2(pattern: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(f"^(?s:{pattern})$", options)
    except re2.error as e:
        reason = e.args[0].decode() if e.args and isinstance(e.args[0], bytes) else str(e)
        if len(pattern) > _LONG:  # RE2 says the pattern again
            reason, pattern = reason.partition(": ")[0], f"{pattern[:_LONG]}..."
        raise BadData(f"error parsing regexp: {reason}: `{pattern}`") from None


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; an absent label has the value ""."""

    name: str
    op: MatchOp
    value: str

    def matches(self, value: str) -> bool:
        """Return whether a value meets the condition."""
        match self.op:
            case "=":
                return value == self.value
            case "!=":
                return value != self.value
            case "=~":
                return _test_of(self.value).search(value) is not None
            case "!~":
                return _test_of(self.value).search(value) is None

    def __str__(self) -> str:
        quoted = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.op}"{quoted}"'
