"""The syntax tree of a template. Frozen values; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TemplateLiteral:
    """A literal: a string, a number, a truth value, or nil."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Path:
    """Fields of a value: `.Labels.job`, `$labels.job`, `(first $x).Value`; without names the value itself.

    `of` is the name of a variable (`$labels`), "." for the dot, or a parenthesised pipeline.
    """

    of: str | Pipeline
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FunctionName:
    """The name of a function, which is called with the arguments after it."""

    name: str


Operand = TemplateLiteral | Path | FunctionName


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands separated by `|`; the value of one is the last argument of the next."""

    commands: tuple[tuple[Operand, ...], ...]
    variables: tuple[str, ...] = ()  # that take the value; two for `range $i, $v :=`
    declares: bool = True  # `:=`; False for `=`


@dataclass(frozen=True, slots=True)
class PlainText:
    """Text outside of braces."""

    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """A pipeline whose value is written, unless it sets variables."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Branch:
    """`if`, `with` or `range`, with the nodes of `else`."""

    keyword: Literal["if", "with", "range"]
    pipeline: Pipeline
    body: tuple[TemplateNode, ...]
    otherwise: tuple[TemplateNode, ...]


@dataclass(frozen=True, slots=True)
class Jump:
    """`break` or `continue`."""

    keyword: Literal["break", "continue"]


@dataclass(frozen=True, slots=True)
class Include:
    """`template "name" pipeline`."""

    name: str
    pipeline: Pipeline | None


TemplateNode = PlainText | Action | Branch | Jump | Include


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template and those that it defines."""

    name: str
    body: tuple[TemplateNode, ...]
    defined: dict[str, tuple[TemplateNode, ...]]
