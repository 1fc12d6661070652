"""Renders the part of Helm's template language that deploy/helm uses, and writes deploy/kubernetes.

    python -m tests.support.helm_templates     writes deploy/kubernetes/meterhouse.yaml

The chart is limited to `.Values`, `if`/`else`, `range $key, $value`, `quote`, `toYaml` and `nindent`, so that
it can be tested without Helm. Other actions are errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
CHART: Final = DEPLOY / "helm" / "meterhouse"
MANIFESTS: Final = DEPLOY / "kubernetes" / "meterhouse.yaml"
_ACTION: Final = re.compile(r"\{\{ (.*?) \}\}")
_RANGE: Final = re.compile(r"range \$key, \$value := (\.Values[\w.]*)")
_HEADER: Final = "# Made of deploy/helm/meterhouse by `python -m tests.support.helm_templates`.\n"


class TemplateError(ValueError):
    """A template that this renderer does not know; the text names the action."""


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with others over them, as `helm --values` merges them: tables one by one."""
    result = dict(below)
    for name, value in above.items():
        old = result.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def chart_objects(values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the objects of the chart for its own values with others over them."""
    return list(yaml.safe_load_all("---\n".join(_texts(values or {}))))


def _texts(over: Mapping[str, Any]) -> Iterator[str]:
    values = merged(yaml.safe_load((CHART / "values.yaml").read_text()), over)
    for path in sorted((CHART / "templates").glob("*.yaml")):
        text = render(path.read_text(), values)
        if text.strip():
            yield text


def render(template: str, values: Mapping[str, Any]) -> str:
    """Render a template. Raises TemplateError for an action that the chart must not use."""
    lines = iter(template.splitlines(keepends=True))
    return "".join(_block(lines, {".Values": values}, ends=()))


def _block(lines: Iterator[str], scope: Mapping[str, Any], ends: tuple[str, ...]) -> Iterator[str]:
    """Yield rendered lines until one of the ends, which is the last item if there are any."""
    for line in lines:
        action = _ACTION.fullmatch(line.strip())
        word = action[1] if action else ""
        if word in ends:
            yield word
            return
        if word.startswith("if "):
            yield from _condition(lines, scope, bool(_value(word[3:], scope)))
        elif found := _RANGE.fullmatch(word):
            yield from _range(lines, scope, _value(found[1], scope))
        else:
            yield _ACTION.sub(lambda m: _text(m[1], scope), line)
    if ends:
        raise TemplateError(f"not ended: expected {' or '.join(ends)}")


def _condition(lines: Iterator[str], scope: Mapping[str, Any], holds: bool) -> Iterator[str]:
    *body, end = _block(lines, scope, ("else", "end"))
    other: list[str] = []
    if end == "else":
        *other, _ = _block(lines, scope, ("end",))
    yield from body if holds else other


def _range(lines: Iterator[str], scope: Mapping[str, Any], table: Mapping[str, Any]) -> Iterator[str]:
    body, depth = [], 1
    for line in lines:
        word = found[1] if (found := _ACTION.fullmatch(line.strip())) else ""
        depth += word.startswith(("if ", "range ")) - (word == "end")
        if not depth:
            break
        body.append(line)
    for key in sorted(table):  # Go's order
        yield from _block(iter(body), {**scope, "$key": key, "$value": table[key]}, ())


def _value(name: str, scope: Mapping[str, Any]) -> Any:
    """Return the value of `.Values.a.b`, `$key` or `$value`."""
    if name in scope:
        return scope[name]
    if not re.fullmatch(r"\.Values(\.\w+)+", name):
        raise TemplateError(f"{{{{ {name} }}}}: not a part of the language that the chart may use")
    value: Any = scope[".Values"]
    for part in name.split(".")[2:]:
        if not isinstance(value, Mapping) or part not in value:
            raise TemplateError(f"{name}: not in values.yaml")
        value = value[part]
    return value


def _text(action: str, scope: Mapping[str, Any]) -> str:
    """Return the text of a value, with its functions."""
    if action.startswith("quote "):
        text = str(_value(action[6:], scope)).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{text}"'
    if action.startswith("toYaml "):
        name, _, indent = action[7:].partition(" | nindent ")
        dumped = yaml.safe_dump(_value(name, scope), sort_keys=True).rstrip("\n")
        return "".join("\n" + " " * int(indent) + line for line in dumped.splitlines())
    return str(_value(action, scope))


def manifests() -> str:
    """Return deploy/kubernetes/meterhouse.yaml: the chart with its own values."""
    return _HEADER + "---\n".join(_texts({}))


if __name__ == "__main__":
    MANIFESTS.write_text(manifests())
