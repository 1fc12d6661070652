"""A template's text -> syntax tree. Unknown functions and variables are errors. Pure.

Source: Go 1.22 `text/template/parse/parse.go`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, Literal

from shim.promql.go_strings import unquoted
from shim.rules.templates.template_lexer import Piece, TemplateError, TemplateToken, pieces
from shim.rules.templates.template_nodes import (
    Action,
    Branch,
    FunctionName,
    Include,
    Jump,
    Operand,
    Path,
    Pipeline,
    PlainText,
    Template,
    TemplateLiteral,
    TemplateNode,
)

#: Blocks and parentheses inside each other.
_MAX_DEPTH: Final = 100
_CONSTANTS: Final = {"true": True, "false": False, "nil": None}
_OPERANDS: Final = ("string", "char", "number", "field", "variable", "word")


def parse_template(name: str, text: str, functions: Collection[str], variables: Collection[str]) -> Template:
    """Return the tree of a template; `variables` are those it may use. Raises TemplateError."""
    try:
        return _TemplateParser(text, functions, list(variables)).template(name)
    except TemplateError as e:
        raise TemplateError(f"template: {name}:{e}") from None


class _TemplateParser:
    def __init__(self, text: str, functions: Collection[str], variables: list[str]) -> None:
        self.pieces: Iterator[Piece] = pieces(text)
        self.functions = functions
        self.variables = variables
        self.defined: dict[str, tuple[TemplateNode, ...]] = {}
        self.line = 1
        self.tokens: list[TemplateToken] = []
        self.loops = 0
        self.depth = 0

    def template(self, name: str) -> Template:
        body, end = self.block()
        if end:
            raise self.error(f"unexpected {{{{{end}}}}}")
        return Template(name, body, self.defined)

    def error(self, text: str) -> TemplateError:
        return TemplateError(f"{self.line}: {text}")

    # ------------------------------------------------------------ blocks

    def block(self) -> tuple[tuple[TemplateNode, ...], str]:
        """Return the nodes up to `end`, `else` or the end of the text, and that word."""
        nodes: list[TemplateNode] = []
        for piece in self.pieces:
            self.line = piece.line
            if piece.tokens is None:
                if piece.text:
                    nodes.append(PlainText(piece.text))
                continue
            self.tokens = list(reversed(piece.tokens))
            word = self.peek("word")
            if word in ("end", "else"):
                self.tokens.pop()
                if word == "end":
                    self.finish("end")
                return tuple(nodes), word
            node = self.action(word)
            if node is not None:
                nodes.append(node)
        return tuple(nodes), ""

    def action(self, word: str) -> TemplateNode | None:
        if word in ("if", "with", "range"):
            self.tokens.pop()
            return self.branch(word)  # type: ignore[arg-type]
        if word in ("break", "continue"):
            self.tokens.pop()
            self.finish(word)
            if not self.loops:
                raise self.error(f"{{{{{word}}}}} outside {{{{range}}}}")
            return Jump(word)  # type: ignore[arg-type]
        if word in ("template", "define", "block"):
            self.tokens.pop()
            return self.named(word)
        pipeline = self.pipeline()
        self.finish("command")
        return Action(pipeline)

    def branch(self, keyword: Literal["if", "with", "range"]) -> Branch:
        self.enter()
        known = len(self.variables)
        pipeline = self.pipeline(of_range=keyword == "range")
        self.finish(keyword)
        self.loops += keyword == "range"
        body, end = self.block()
        self.loops -= keyword == "range"
        otherwise: tuple[TemplateNode, ...] = ()
        if end == "else":
            inner = self.peek("word")
            if inner == keyword and inner != "range":
                self.tokens.pop()
                otherwise, end = (self.branch(keyword),), "end"
            else:
                self.finish("else")
                otherwise, end = self.block()
        if end != "end":
            raise self.error("unexpected EOF" if not end else f"expected end; found {{{{{end}}}}}")
        del self.variables[known:]
        self.depth -= 1
        return Branch(keyword, pipeline, body, otherwise)

    def named(self, word: str) -> Include | None:
        if self.peek("string") == "":
            raise self.error(f"unexpected token in {word} clause; a name in quotes is expected")
        name = str(self.constant(self.tokens.pop()))
        pipeline = self.pipeline() if self.tokens and word != "define" else None
        self.finish(word)
        if word == "template":
            return Include(name, pipeline)
        self.enter()
        before, loops = self.variables, self.loops
        self.variables, self.loops = ["$"], 0
        self.defined[name], end = self.block()
        self.variables, self.loops = before, loops
        self.depth -= 1
        if end != "end":
            raise self.error("unexpected EOF" if not end else f"unexpected {{{{{end}}}}} in {word} clause")
        return Include(name, pipeline) if word == "block" else None

    # ------------------------------------------------------------ pipelines

    def pipeline(self, *, of_range: bool = False) -> Pipeline:
        variables, declares = self.assigned(of_range=of_range)
        commands = [self.command()]
        while self.take("|"):
            commands.append(self.command())
        for later in commands[1:]:
            if isinstance(later[0], TemplateLiteral):
                raise self.error("non executable command in pipeline")
        if declares:
            self.variables.extend(variables)
        return Pipeline(tuple(commands), variables, declares)

    def assigned(self, *, of_range: bool) -> tuple[tuple[str, ...], bool]:
        """Read `$x :=`, `$x =`, or in a range `$i, $x :=`."""
        ahead = [t.text for t in reversed(self.tokens[-4:])]
        if not self.peek("variable"):
            return (), True
        count = 1 if ahead[1:2] in ([":="], ["="]) else 2 if of_range and ahead[1:2] == [","] else 0
        if not count or ahead[2 * count - 1 : 2 * count] not in ([":="], ["="]):
            return (), True
        del self.tokens[-2 * count :]
        names = tuple(ahead[: 2 * count : 2])
        declares = ahead[2 * count - 1] == ":="
        for name in names:
            if not declares:
                self.check_variable(name)
        return names, declares

    def command(self) -> tuple[Operand, ...]:
        operands: list[Operand] = []
        while self.tokens and self.tokens[-1].text not in ("|", ")"):
            if operands and not self.tokens[-1].spaced:
                raise self.error(f"unexpected {self.tokens[-1].text!r} in operand")
            operands.append(self.operand())
        if not operands:
            raise self.error("missing value for command")
        return tuple(operands)

    def operand(self) -> Operand:
        token = self.tokens.pop()
        if token.text == "(" and token.kind == "sign":
            self.enter()
            inner = self.pipeline()
            if not self.take(")"):
                raise self.error("unclosed left paren")
            self.depth -= 1
            return Path(inner, self.fields())
        if token.text == ".":
            return Path(".", self.fields())
        if token.kind == "field":
            return Path(".", (token.text[1:], *self.fields()))
        if token.kind == "variable":
            self.check_variable(token.text)
            return Path(token.text, self.fields())
        if token.kind not in _OPERANDS:
            raise self.error(f"unexpected {token.text!r} in operand")
        return self.word(token) if token.kind == "word" else TemplateLiteral(self.constant(token))

    def word(self, token: TemplateToken) -> Operand:
        if token.text in _CONSTANTS:
            return TemplateLiteral(_CONSTANTS[token.text])
        if token.text not in self.functions:
            raise self.error(f'function "{token.text}" not defined')
        return FunctionName(token.text)

    def constant(self, token: TemplateToken) -> str | int | float:
        try:
            return _constant(token)
        except (ValueError, OverflowError):
            raise self.error(f"invalid syntax: {token.text}") from None

    def fields(self) -> tuple[str, ...]:
        names = []
        while self.tokens and self.tokens[-1].kind == "field" and not self.tokens[-1].spaced:
            names.append(self.tokens.pop().text[1:])
        return tuple(names)

    # ------------------------------------------------------------ tokens

    def enter(self) -> None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.error(f"nested too deep: at most {_MAX_DEPTH} blocks and parentheses")

    def check_variable(self, name: str) -> None:
        if name not in self.variables:
            raise self.error(f'undefined variable "{name}"')

    def peek(self, kind: str) -> str:
        """Return the text of the next token if it is of this kind, else an empty text."""
        return self.tokens[-1].text if self.tokens and self.tokens[-1].kind == kind else ""

    def take(self, sign: str) -> bool:
        if self.peek("sign") != sign:
            return False
        self.tokens.pop()
        return True

    def finish(self, word: str) -> None:
        if self.tokens:
            raise self.error(f"unexpected {self.tokens[-1].text!r} in {word}")


def _constant(token: TemplateToken) -> str | int | float:
    if token.kind == "string":
        return unquoted(token.text)
    if token.kind == "char":
        return ord(unquoted(token.text)[:1] or "\0")
    plain = token.text.replace("_", "")
    try:
        return int(plain, 16) if "x" in plain.lower() else int(plain)
    except ValueError:
        return float(plain)
