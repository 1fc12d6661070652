"""A template's text -> plain text and actions, and actions -> tokens. Pure.

Source: Go 1.22 `text/template/parse/lex.go`: delimiters, trimming, comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<string>"(?:[^"\\\n]|\\.)*" | `[^`]*`)
      | (?P<char>'(?:[^'\\\n]|\\.[0-9a-fA-F]*)')
      | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+
          | [0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9]+)?
          | \.[0-9]+(?:[eE][+-]?[0-9]+)?))
      | (?P<field>\.[^\W\d]\w*)
      | (?P<variable>\$\w*)
      | (?P<word>[^\W\d]\w*)
      | (?P<sign>:=|=|\||\(|\)|,|\.)
    """,
    re.VERBOSE,
)
_SPACES: Final = " \t\r\n"
_COMMENT: Final = re.compile(r"\{\{(?:-[ \t\r\n])?[ \t\r\n]*/\*.*?\*/(?P<end>[ \t\r\n]+-)?\}\}", re.DOTALL)


class TemplateError(Exception):
    """A template that cannot be parsed or executed."""


class TemplateToken(NamedTuple):
    """One token of an action; `spaced`: white space comes before it."""

    kind: str
    text: str
    spaced: bool


class Piece(NamedTuple):
    """Plain text, or the tokens of one action, and the line it begins at."""

    line: int
    text: str
    tokens: tuple[TemplateToken, ...] | None


def pieces(text: str) -> Iterator[Piece]:
    """Yield plain text and actions in order. Raises TemplateError."""
    at, trims = 0, False
    while (start := text.find("{{", at)) >= 0:
        trims_before = text.startswith("{{-", start) and text[start + 3 : start + 4] in tuple(_SPACES)
        yield Piece(_line(text, at), _trimmed(text[at:start], left=trims, right=trims_before), None)
        line = _line(text, start)
        if comment := _COMMENT.match(text, start):
            at, trims = comment.end(), comment["end"] is not None
            continue
        tokens, at, trims = _action(text, start + (3 if trims_before else 2), line)
        yield Piece(line, "", tokens)
    yield Piece(_line(text, at), _trimmed(text[at:], left=trims, right=False), None)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _trimmed(text: str, *, left: bool, right: bool) -> str:
    text = text.lstrip(_SPACES) if left else text
    return text.rstrip(_SPACES) if right else text


def _action(text: str, at: int, line: int) -> tuple[tuple[TemplateToken, ...], int, bool]:
    """Return the tokens of an action, the place after it, and whether it trims the text after it."""
    tokens: list[TemplateToken] = []
    spaced = False
    while True:
        if text.startswith("}}", at):
            return tuple(tokens), at + 2, False
        if spaced and text.startswith("-}}", at):
            return tuple(tokens), at + 3, True
        found = _TOKEN.match(text, at)
        if found is None:
            raise TemplateError(f"{line}: {_problem(text, at)}")
        at, kind = found.end(), found.lastgroup or ""
        if kind != "space":
            tokens.append(TemplateToken(kind, found[0], spaced))
        spaced = kind == "space"


def _problem(text: str, at: int) -> str:
    if at >= len(text) or text[at] == "\n":
        return "unclosed action"
    if text[at] in "\"'`":
        return {'"': "unterminated quoted string", "'": "unterminated character constant"}.get(
            text[at], "unterminated raw quoted string"
        )
    return f"unexpected {text[at]!r} in an action"
