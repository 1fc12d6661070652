"""Evaluates a parsed template. Pure; the length of the output and the number of steps are bounded.

Source: Go 1.22 `text/template/exec.go`, with the option missingkey=zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from shim.rules.templates.template_builtins import LAZY, truth
from shim.rules.templates.template_functions import AlertDot, TemplateSample, shown
from shim.rules.templates.template_lexer import TemplateError
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

MAX_OUTPUT: Final = 1 << 20  # characters
_MAX_STEPS: Final = 100_000
_MAX_INCLUDES: Final = 100  # inside each other
_NOTHING: Final = object()


class _JumpError(Exception):
    """Raised by `break` and `continue`, and caught by the loop."""


def evaluate_template(
    template: Template,
    dot: AlertDot,
    variables: Mapping[str, Any],
    functions: Mapping[str, Callable[..., Any]],
) -> str:
    """Return the text of a template over its values. Raises TemplateError."""
    run = _Evaluation(template, functions)
    run.variables = [("$", dot), *variables.items()]
    try:
        run.nodes(template.body, dot)
    except TemplateError as e:
        raise TemplateError(f"error executing template {template.name}: {e}") from None
    except RecursionError:
        raise TemplateError(f"error executing template {template.name}: nested too deep") from None
    return "".join(run.out)


class _Evaluation:
    def __init__(self, template: Template, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.template = template
        self.functions = functions
        self.variables: list[tuple[str, Any]] = []
        self.out: list[str] = []
        self.written = 0
        self.steps = 0
        self.includes = 0

    def nodes(self, nodes: tuple[TemplateNode, ...], dot: Any) -> None:
        for node in nodes:
            self.steps += 1
            if self.steps > _MAX_STEPS:
                raise TemplateError(f"more than {_MAX_STEPS} steps")
            self.node(node, dot)

    def node(self, node: TemplateNode, dot: Any) -> None:
        match node:
            case PlainText():
                self.write(node.text)
            case Action():
                value = self.pipeline(node.pipeline, dot)
                if not node.pipeline.variables:
                    self.write(shown(value))
            case Branch():
                known = len(self.variables)
                self.branch(node, dot)
                del self.variables[known:]
            case Jump():
                raise _JumpError(node.keyword)
            case Include():
                self.include(node, dot)

    def write(self, text: str) -> None:
        self.written += len(text)
        if self.written > MAX_OUTPUT:
            raise TemplateError(f"more than {MAX_OUTPUT} characters")
        self.out.append(text)

    def include(self, node: Include, dot: Any) -> None:
        body = self.template.defined.get(node.name)
        if body is None:
            raise TemplateError(f'template "{node.name}" not defined')
        self.includes += 1
        if self.includes > _MAX_INCLUDES:
            raise TemplateError(f"more than {_MAX_INCLUDES} templates inside each other")
        value = None if node.pipeline is None else self.pipeline(node.pipeline, dot)
        before, self.variables = self.variables, [("$", value)]
        self.nodes(body, value)
        self.variables = before
        self.includes -= 1

    def branch(self, node: Branch, dot: Any) -> None:
        if node.keyword == "range":
            self.loop(node, dot)
            return
        value = self.pipeline(node.pipeline, dot)
        if truth(value):
            self.nodes(node.body, value if node.keyword == "with" else dot)
        else:
            self.nodes(node.otherwise, dot)

    def loop(self, node: Branch, dot: Any) -> None:
        value = self.operands(node.pipeline, dot)
        any_element = False
        known = len(self.variables)
        for key, element in _elements(value):
            any_element = True
            names = node.pipeline.variables
            self.variables += zip(names, (key, element) if len(names) == 2 else (element,), strict=False)
            try:
                self.nodes(node.body, element)
            except _JumpError as jump:
                if jump.args[0] == "break":
                    break
            finally:
                del self.variables[known:]
        if not any_element:
            self.nodes(node.otherwise, dot)

    # ------------------------------------------------------------ values

    def pipeline(self, pipeline: Pipeline, dot: Any) -> Any:
        value = self.operands(pipeline, dot)
        for name in pipeline.variables:
            if pipeline.declares:
                self.variables.append((name, value))
            else:
                at = max(i for i, (known, _) in enumerate(self.variables) if known == name)
                self.variables[at] = (name, value)
        return value

    def operands(self, pipeline: Pipeline, dot: Any) -> Any:
        value: Any = _NOTHING
        for command in pipeline.commands:
            value = self.command(command, dot, value)
        return value

    def command(self, command: tuple[Operand, ...], dot: Any, last: Any) -> Any:
        head, *rest = command
        if isinstance(head, FunctionName):
            return self.call(head.name, rest, dot, last)
        if head == TemplateLiteral(None):
            raise TemplateError("nil is not a command")
        if rest or last is not _NOTHING:
            raise TemplateError(f"can't give argument to non-function {_named(head)}")
        return self.operand(head, dot)

    def operand(self, operand: Operand, dot: Any) -> Any:
        match operand:
            case TemplateLiteral():
                return operand.value
            case FunctionName():
                return self.call(operand.name, [], dot, _NOTHING)
            case Path(of=Pipeline() as inner):
                value = self.pipeline(inner, dot)
            case Path(of="."):
                value = dot
            case Path():
                value = next(v for name, v in reversed(self.variables) if name == operand.of)
        for name in operand.names:
            value = _field(value, name)
        return value

    def call(self, name: str, rest: list[Operand], dot: Any, last: Any) -> Any:
        if name in LAZY:
            return self.lazy(name, rest, dot, last)
        args = [self.operand(one, dot) for one in rest]
        if last is not _NOTHING:
            args.append(last)
        try:
            value = self.functions[name](*args)
        except (ValueError, OverflowError) as e:
            raise TemplateError(f"error calling {name}: {e}") from None
        except TypeError:
            raise TemplateError(
                f"error calling {name}: wrong number or types of {len(args)} arguments"
            ) from None
        if isinstance(value, str) and len(value) > MAX_OUTPUT:
            raise TemplateError(f"error calling {name}: more than {MAX_OUTPUT} characters")
        return value

    def lazy(self, name: str, rest: list[Operand], dot: Any, last: Any) -> Any:
        value: Any = _NOTHING
        for one in rest:
            value = self.operand(one, dot)
            if truth(value) == (name == "or"):
                return value
        value = value if last is _NOTHING else last
        if value is _NOTHING:
            raise TemplateError(f"wrong number of args for {name}: want at least 1 got 0")
        return value


def _elements(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from ((key, value[key]) for key in sorted(value))
    elif isinstance(value, list):
        yield from enumerate(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from ((i, i) for i in range(min(value, _MAX_STEPS + 1)))
    elif value is not None:
        raise TemplateError(f"range can't iterate over {shown(value)}")


def _field(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name, "")
    if isinstance(value, TemplateSample | AlertDot) and name in value._fields:
        return getattr(value, name)
    raise TemplateError(f"can't evaluate field {name} of {shown(value)}")


def _named(operand: Operand) -> str:
    if isinstance(operand, Path):
        return ("" if operand.of == "." or not isinstance(operand.of, str) else operand.of) + "".join(
            f".{name}" for name in operand.names
        )
    return shown(operand.value) if isinstance(operand, TemplateLiteral) else operand.name
