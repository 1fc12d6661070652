"""Evaluates the rules of a group at one tick, in order, over samples in memory. Pure.

A rule sees the results of earlier rules at the same tick. A series that a rule no longer yields ends there.
Source: Prometheus 3.x `rules/group.go`, `rules/recording.go`, `rules/alerting.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shim.model import labels as lb
from shim.model.errors import ExecutionError, QueryError
from shim.model.labels import Labels
from shim.rules.alert_states import ActiveAlert, AlertStates
from shim.rules.memory_engine import InstantVector, MemoryEngine
from shim.rules.memory_samples import STALE
from shim.rules.rule_file import AlertingRule, RecordingRule, RuleGroup
from shim.rules.templates.alert_template import AlertValues, expanded
from shim.rules.templates.template_functions import TemplateSample

_SAME_LABELS = "vector contains metrics with the same labelset after applying {} labels"


@dataclass(frozen=True, slots=True)
class External:
    """Labels and URL of the server, which templates can show."""

    labels: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


class GroupEvaluation:
    """One group with the states of its alerts."""

    def __init__(self, group: RuleGroup, engine: MemoryEngine, external: External) -> None:
        self.group = group
        self.states = [AlertStates(r) if isinstance(r, AlertingRule) else None for r in group.rules]
        self._engine = engine
        self._external = external
        self._before: list[set[Labels]] = [set() for _ in group.rules]

    def evaluate(self, tick_ms: int) -> list[tuple[str, str]]:
        """Evaluate all rules; return name and error of those that failed."""
        failed = []
        at_ms = tick_ms - self.group.query_offset_ms
        samples = self._engine.samples
        for number, (rule, states) in enumerate(zip(self.group.rules, self.states, strict=True)):
            try:
                found = self._result(rule, states, tick_ms, at_ms)
            except QueryError as e:
                failed.append((rule.name, str(e)))
                continue
            for labels, value in found:
                samples.append(labels, at_ms, value)
            now = {labels for labels, _ in found}
            for labels in self._before[number] - now:
                samples.append(labels, at_ms, STALE)
            self._before[number] = now
        return failed

    def _result(
        self, rule: RecordingRule | AlertingRule, states: AlertStates | None, tick_ms: int, at_ms: int
    ) -> InstantVector:
        vector = self._engine.query(rule.expr, at_ms)
        if isinstance(rule, RecordingRule):
            return self._recorded(rule, vector)
        assert states is not None
        states.update(self._alerts(rule, vector, tick_ms, at_ms), tick_ms, self.group.limit)
        return list(states.series())

    def _recorded(self, rule: RecordingRule, vector: InstantVector) -> InstantVector:
        found = [(lb.make({**dict(labels), lb.NAME: rule.name, **rule.labels}), v) for labels, v in vector]
        if len({labels for labels, _ in found}) < len(found):
            raise ExecutionError(_SAME_LABELS.format("rule"))
        if self.group.limit and len(found) > self.group.limit:
            raise ExecutionError(f"exceeded limit of {self.group.limit} with {len(found)} series")
        return found

    def _alerts(
        self, rule: AlertingRule, vector: InstantVector, tick_ms: int, at_ms: int
    ) -> dict[Labels, ActiveAlert]:
        found: dict[Labels, ActiveAlert] = {}

        def query(text: str) -> list[TemplateSample]:
            try:
                return [TemplateSample(dict(ls), v) for ls, v in self._engine.query_text(text, at_ms)]
            except QueryError as e:
                raise ValueError(str(e)) from None

        for series, value in vector:
            values = AlertValues(dict(series), value, query, self._external.labels, self._external.url)
            own = {name: expanded(rule.name, text, values) for name, text in rule.labels.items()}
            kept = {k: v for k, v in series if k != lb.NAME}
            labels = lb.make({**kept, **own, "alertname": rule.name})
            if labels in found:
                raise ExecutionError(_SAME_LABELS.format("alert"))
            notes = {name: expanded(rule.name, text, values) for name, text in rule.annotations.items()}
            found[labels] = ActiveAlert(labels, notes, value, tick_ms)
        return found
