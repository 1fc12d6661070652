"""An expression as a tree that knows how it may shrink. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Kind = Literal["scalar", "vector", "matrix"]


class Phase(NamedTuple):
    """When an expression is evaluated, modulo the 10 s of samples: `at_ms` and every `every_ms` from it."""

    at_ms: int
    every_ms: int


@dataclass(frozen=True, slots=True)
class Maybe:
    """Text that may be left out without a change of types or phase."""

    text: str


@dataclass(frozen=True, slots=True)
class Expr:
    """One expression. `constructs`: the parts of PromQL it has by itself, without its operands."""

    kind: Kind
    parts: tuple[str | Maybe | Expr, ...]
    constructs: tuple[str, ...]
    phase: Phase

    @property
    def text(self) -> str:
        return "".join(p if isinstance(p, str) else p.text for p in self.parts)

    def all_constructs(self) -> Iterator[str]:
        yield from self.constructs
        for part in self.parts:
            if isinstance(part, Expr):
                yield from part.all_constructs()

    def inside(self) -> Iterator[Expr]:
        """Every expression below this one."""
        for part in self.parts:
            if isinstance(part, Expr):
                yield part
                yield from part.inside()

    def smaller(self) -> Iterator[Expr]:
        """Expressions of the same kind with less in them, the smallest first."""
        fitting = [e for e in self.inside() if (e.kind, e.phase) == (self.kind, self.phase)]
        yield from sorted(fitting, key=lambda e: len(e.text))
        for i, part in enumerate(self.parts):
            before, after = self.parts[:i], self.parts[i + 1 :]
            if isinstance(part, Maybe):
                yield replace(self, parts=before + after)
            elif isinstance(part, Expr):
                for less in part.smaller():
                    yield replace(self, parts=(*before, less, *after))


def shrunk(expr: Expr, fails: Callable[[Expr], bool], tries: int = 300) -> Expr:
    """Return the smallest expression found that still fails; `tries` bounds the questions asked."""
    again = True
    while again and tries > 0:
        again = False
        for less in expr.smaller():
            tries -= 1
            if fails(less):
                expr, again = less, True
                break
            if tries <= 0:
                break
    return expr
