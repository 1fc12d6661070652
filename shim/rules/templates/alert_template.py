"""The templates of an alert's labels and annotations. Pure.

Source: Prometheus 3.x `rules/alerting.go`, `model/rulefmt` (testTemplateParsing).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from shim.rules.templates.template_evaluator import evaluate_template
from shim.rules.templates.template_functions import FUNCTION_NAMES, AlertDot, Query, functions
from shim.rules.templates.template_lexer import TemplateError
from shim.rules.templates.template_nodes import Template
from shim.rules.templates.template_parser import parse_template

_VARIABLES: Final = ("$", "$labels", "$externalLabels", "$externalURL", "$value")


@dataclass(frozen=True, slots=True)
class AlertValues:
    """The values that the templates of one alert see."""

    labels: Mapping[str, str]
    value: float
    query: Query
    external_labels: Mapping[str, str] = field(default_factory=dict)
    external_url: str = ""

    @property
    def dot(self) -> AlertDot:
        """The dot."""
        return AlertDot(self.labels, self.external_labels, self.external_url, self.value)


@lru_cache(maxsize=4096)
def alert_template(alert: str, text: str) -> Template:
    """Return the parsed template of a label or annotation. Raises TemplateError."""
    return parse_template(f"__alert_{alert}", text, FUNCTION_NAMES, _VARIABLES)


def expanded(alert: str, text: str, values: AlertValues) -> str:
    """Return the text of a label or annotation; an error is shown in it, as in Prometheus."""
    if "{{" not in text:
        return text
    dot = values.dot
    variables = {
        "$labels": values.labels,
        "$externalLabels": values.external_labels,
        "$externalURL": values.external_url,
        "$value": values.value,
    }
    try:
        template = alert_template(alert, text)
        return evaluate_template(template, dot, variables, functions(values.query, values.external_url))
    except TemplateError as e:
        return f"<error expanding template: {e}>"
