"""Regular expressions in RE2's syntax: text in, a tree out.

Owns the syntax; agent/automaton.py matches, in time that grows with the name and no faster. Python's `re`
would be shorter, but it backtracks: with an expression of statsd_exporter's README one name of 512 bytes
takes it seconds, with others hours, and names come from whoever can send a packet.

All of RE2 but `\\pL` (Unicode classes), `\\C` and octal escapes. `\\d \\w \\s \\b`, `[[:alpha:]]` mean ASCII;
`$` is the end of the text unless `(?m)`; a repeat has at most 1,000 copies. Source: RE2's syntax page, Go's
regexp/syntax.

Pure.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import Final, NoReturn

import msgspec

MAX_CHAR: Final = 0x10FFFF
MAX_REPEAT: Final = 1_000
_MAX_DEPTH: Final = 100

#: Sorted, apart: first and last code point of each.
Ranges = tuple[tuple[int, int], ...]


class RegexError(ValueError):
    """No regular expression; the text says what is wrong, and where."""


class Assertion(enum.Enum):
    """What may be asked of a place between two characters."""

    BEGIN = "begin of text"
    END = "end of text"
    LINE_BEGIN = "begin of line"
    LINE_END = "end of line"
    WORD = "word boundary"
    NOT_WORD = "no word boundary"


class Empty(msgspec.Struct, frozen=True):
    """Matches nothing, anywhere."""


class Chars(msgspec.Struct, frozen=True):
    """One character of these."""

    ranges: Ranges


class Assert(msgspec.Struct, frozen=True):
    """No character, but a place."""

    assertion: Assertion


class Group(msgspec.Struct, frozen=True):
    """A capturing group; numbers start at 1."""

    number: int
    node: Node


class Sequence(msgspec.Struct, frozen=True):
    """One after the other."""

    nodes: tuple[Node, ...]


class Choice(msgspec.Struct, frozen=True):
    """One of these, the earlier rather than the later."""

    nodes: tuple[Node, ...]


class Repeat(msgspec.Struct, frozen=True):
    """From `least` to `most` (None: any number) times, rather more than less if `greedy`."""

    node: Node
    least: int
    most: int | None
    greedy: bool


Node = Empty | Chars | Assert | Group | Sequence | Choice | Repeat


class Expression(msgspec.Struct, frozen=True):
    """A regular expression that was read."""

    text: str
    node: Node
    groups: int
    names: dict[str, int]  # of groups


_DIGIT: Final = ((48, 57),)
_WORD: Final = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Final = ((9, 10), (12, 13), (32, 32))
_PERL: Final = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_POSIX: Final[dict[str, Ranges]] = {
    "alnum": ((48, 57), (65, 90), (97, 122)), "alpha": ((65, 90), (97, 122)), "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)), "cntrl": ((0, 31), (127, 127)), "digit": _DIGIT, "graph": ((33, 126),),
    "lower": ((97, 122),), "print": ((32, 126),), "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)), "upper": ((65, 90),), "word": _WORD,
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}  # fmt: skip
_ESCAPES: Final = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_PLACES: Final = {"A": Assertion.BEGIN, "z": Assertion.END, "b": Assertion.WORD, "B": Assertion.NOT_WORD}


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The ranges sorted, with those that touch made one."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    return tuple(out)


def negated(ranges: Ranges) -> Ranges:
    """All other characters."""
    out, start = [], 0
    for low, high in ranges:
        if low > start:
            out.append((start, low - 1))
        start = high + 1
    return (*out, (start, MAX_CHAR)) if start <= MAX_CHAR else tuple(out)


def _folded(ranges: Ranges) -> Ranges:
    """The ranges with the other case of their characters (of the first 1,000 beyond ASCII)."""
    out = list(ranges)
    for low, high in ranges:
        for code in range(low, min(high, low + 1_000) + 1):
            out += ((ord(c), ord(c)) for c in (chr(code).lower(), chr(code).upper()) if len(c) == 1)
    return joined(out)


def parse(text: str) -> Expression:
    """The expression in `text`. Raises RegexError."""
    parser = _Parser(text)
    node = parser.choice(0)
    if parser.at < len(text):
        parser.fail("unexpected )")
    return Expression(text, node, parser.groups, parser.names)


class _Parser:
    """Reads one expression from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.groups = 0
        self.names: dict[str, int] = {}
        self.flags = frozenset[str]()

    def fail(self, what: str) -> NoReturn:
        raise RegexError(f"{what} at position {self.at + 1}")

    def take(self, text: str) -> bool:
        found = self.text.startswith(text, self.at)
        self.at += len(text) * found
        return found

    def next(self) -> str:
        if self.at >= len(self.text):
            self.fail("unexpected end")
        self.at += 1
        return self.text[self.at - 1]

    def choice(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            self.fail(f"groups within groups, more than {_MAX_DEPTH} deep")
        flags = self.flags
        nodes = [self.sequence(depth)]
        while self.take("|"):
            nodes.append(self.sequence(depth))
        self.flags = flags
        return nodes[0] if len(nodes) == 1 else Choice(tuple(nodes))

    def sequence(self, depth: int) -> Node:
        nodes: list[Node] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            if self.take(r"\Q"):
                nodes += self.quoted()
            else:
                nodes.append(self.repeated(self.atom(depth)))
        return nodes[0] if len(nodes) == 1 else Sequence(tuple(nodes)) if nodes else Empty()

    def quoted(self) -> list[Node]:
        """What follows `\\Q`; a repeat behind the `\\E` is one of the last character."""
        text, end, _ = self.text[self.at :].partition(r"\E")
        self.at += len(text) + len(end)
        nodes: list[Node] = [self.literal(ord(c)) for c in text]
        return [*nodes[:-1], self.repeated(nodes[-1])] if nodes else []

    def repeated(self, node: Node) -> Node:
        """The node as often as what comes next says."""
        times = self.times()
        if times is None:
            return node
        greedy = not self.take("?")
        if self.times() is not None:
            self.fail("a repeat of a repeat")
        return Repeat(node, *times, greedy ^ ("U" in self.flags))

    def times(self) -> tuple[int, int | None] | None:
        """What `*`, `+`, `?` or `{n,m}` says, if one of them comes next."""
        for mark, said in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.take(mark):
                return said
        end = self.text.find("}", self.at)
        if not self.text.startswith("{", self.at) or end < 0:
            return None
        least, comma, most = self.text[self.at + 1 : end].partition(",")
        if not _is_number(least) or not (most == "" or _is_number(most)):
            return None  # then `{` is itself
        self.at = end + 1
        low, high = int(least), int(most) if most else None if comma else int(least)
        if low > MAX_REPEAT or (high is not None and not low <= high <= MAX_REPEAT):
            self.fail(f"a repeat is not of at most {MAX_REPEAT} copies")
        return low, high

    def atom(self, depth: int) -> Node:
        char = self.next()
        match char:
            case "(":
                return self.group(depth)
            case "[":
                return Chars(self.char_class())
            case ".":
                return Chars(((0, MAX_CHAR),) if "s" in self.flags else negated(((10, 10),)))
            case "^":
                return Assert(Assertion.LINE_BEGIN if "m" in self.flags else Assertion.BEGIN)
            case "$":
                return Assert(Assertion.LINE_END if "m" in self.flags else Assertion.END)
            case "\\":
                return self.escape()
            case "*" | "+" | "?":
                self.at -= 1
                self.fail("nothing to repeat")
        return self.literal(ord(char))

    def literal(self, code: int) -> Chars:
        ranges = ((code, code),)
        return Chars(_folded(ranges) if "i" in self.flags else ranges)

    def escape(self) -> Node:
        char = self.next()
        if char in _PLACES:
            return Assert(_PLACES[char])
        if char.lower() in _PERL:
            return Chars(_perl(char))
        return self.literal(self.code(char))

    def code(self, char: str) -> int:
        """The code point that is written as a backslash and `char`, and what follows it."""
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char == "x":
            digits = self.next()
            if digits == "{":
                digits, _, _ = self.text[self.at :].partition("}")
                self.at += len(digits) + 1
            else:
                digits += self.next()
            if not digits or set(digits) - set("0123456789abcdefABCDEF") or int(digits, 16) > MAX_CHAR:
                self.fail(r"\x is not followed by a code point")
            return int(digits, 16)
        if char.isascii() and char.isalnum():
            self.fail(f"unknown escape \\{char}")
        return ord(char)

    def group(self, depth: int) -> Node:
        number, flags = 0, self.flags
        if self.take("?P<") or self.take("?<"):
            number = self.numbered()
            name, end, _ = self.text[self.at :].partition(">")
            if not end or not re.fullmatch("[A-Za-z0-9_]+", name) or name in self.names:
                self.fail("no name for a group, or a second time the same")
            self.at += len(name) + 1
            self.names[name] = number
        elif self.take("?"):
            self.flags = self.read_flags()
            if self.take(")"):
                return Empty()  # `(?i)`: for the rest of the group around it
            if not self.take(":"):
                self.fail("unknown kind of group")
        else:
            number = self.numbered()
        node = self.choice(depth + 1)
        self.flags = flags
        if not self.take(")"):
            self.fail("missing )")
        return Group(number, node) if number else node

    def numbered(self) -> int:
        self.groups += 1
        return self.groups

    def read_flags(self) -> frozenset[str]:
        on, off, at = set[str](), set[str](), self.at
        into = on
        while self.at < len(self.text) and self.text[self.at] not in ":)":
            flag = self.next()
            if flag == "-" and into is on:
                into = off
            elif flag in "imsU":
                into.add(flag)
            else:
                self.at = at
                self.fail("unknown kind of group")
        return (self.flags | on) - off

    def char_class(self) -> Ranges:
        negative = self.take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self.take("]"):
            first = False
            ranges += self.class_item()
        found = joined(ranges)
        if "i" in self.flags:
            found = _folded(found)
        return negated(found) if negative else found

    def class_item(self) -> Ranges:
        if self.text.startswith("[:", self.at) and (end := self.text.find(":]", self.at + 2)) > 0:
            name = self.text[self.at + 2 : end]
            if name.removeprefix("^") not in _POSIX:
                self.fail(f"unknown class [:{name}:]")
            self.at = end + 2
            ranges = _POSIX[name.removeprefix("^")]
            return negated(ranges) if name.startswith("^") else ranges
        char = self.next()
        if char == "\\" and self.at < len(self.text) and self.text[self.at].lower() in _PERL:
            return _perl(self.next())
        low = self.code(self.next()) if char == "\\" else ord(char)
        if not self.text.startswith("-", self.at) or self.text.startswith("-]", self.at):
            return ((low, low),)
        self.at += 1
        char = self.next()
        high = self.code(self.next()) if char == "\\" else ord(char)
        if high < low:
            self.fail("a range that ends before it begins")
        return ((low, high),)


def _perl(char: str) -> Ranges:
    return _PERL[char] if char in _PERL else negated(_PERL[char.lower()])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6
