"""Evaluates the rules of a group at one tick, in order. Pure: queries and samples are the caller's.

A rule sees the results of earlier rules at the same tick. A series that a rule no longer yields ends there.
Source: Prometheus 3.x `rules/group.go`, `rules/recording.go`, `rules/alerting.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from shim.model import labels as lb
from shim.model.errors import ExecutionError, QueryError
from shim.model.labels import Labels
from shim.rules.alert_states import ActiveAlert, AlertStates
from shim.rules.memory_samples import STALE
from shim.rules.recorded_histogram import RecordedHistogram
from shim.rules.rule_file import AlertingRule, RecordingRule, Rule, RuleGroup
from shim.rules.rule_queries import InstantVector, RuleQueries, SampleSink, check_series
from shim.rules.templates.alert_template import AlertValues, expanded
from shim.rules.templates.template_functions import TemplateSample

T = TypeVar("T")
#: Series whose labels are changed here; more are handed to a thread.
_AT_ONCE: Final = 500
#: Characters of the templates of one rule's alerts at one tick.
_MAX_TEXT: Final = 1 << 24
_SAME_LABELS: Final = "vector contains metrics with the same labelset after applying {} labels"


@dataclass(frozen=True, slots=True)
class External:
    """Labels and URL of the server, which templates can show."""

    labels: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


@dataclass(slots=True)
class RuleHealth:
    """The last evaluation of a rule; `tick_ms` 0: there was none."""

    error: str = ""
    seconds: float = 0.0
    tick_ms: int = 0


class GroupEvaluation:
    """One group with the states of its alerts.

    `clock_s` measures how long rules take. A rule yields at most `max_series`; 0: any number.
    """

    def __init__(
        self,
        group: RuleGroup,
        external: External,
        clock_s: Callable[[], float] = lambda: 0.0,
        max_series: int = 0,
    ) -> None:
        self.group = group
        self.states = [AlertStates(r) if isinstance(r, AlertingRule) else None for r in group.rules]
        self.health = [RuleHealth() for _ in group.rules]
        #: The series of each rule at the tick before.
        self.before: list[set[Labels]] = [set() for _ in group.rules]
        #: Series of rules that are gone, which end at the next tick.
        self.ending: set[Labels] = set()
        self._external = external
        self._clock_s = clock_s
        self._max_series = max_series

    async def evaluate(
        self,
        tick_ms: int,
        queries: RuleQueries,
        samples: SampleSink,
        *,
        alerts: bool = True,
        passing: tuple[type[QueryError], ...] = (),
    ) -> list[tuple[str, str]]:
        """Evaluate all rules, or without `alerts` the recording rules; return name and error of failed ones.

        Raises errors of the types `passing`: then the tick is to be evaluated again.
        """
        failed = []
        at_ms = tick_ms - self.group.query_offset_ms
        after = list(self.before)
        for number, rule in enumerate(self.group.rules):
            if isinstance(rule, AlertingRule) and not alerts:
                continue
            began_s, error = self._clock_s(), ""
            try:
                found = await self._result(number, rule, queries, tick_ms)
            except passing:
                raise
            except QueryError as e:
                error = str(e)
                failed.append((rule.name, error))
            else:
                after[number] = {labels for labels, _ in found}
                for labels, value in found:
                    if isinstance(value, RecordedHistogram):
                        samples.append_histogram(labels, at_ms, value)
                    else:
                        samples.append(labels, at_ms, value)
                for labels in self.before[number] - after[number]:
                    samples.append(labels, at_ms, STALE)
            seconds = queries.seconds_of(rule.text)
            seconds = self._clock_s() - began_s if seconds is None else seconds
            self.health[number] = RuleHealth(error, seconds, tick_ms)
        for labels in self.ending.difference(*self.before, *after):
            samples.append(labels, at_ms, STALE)
        self.before, self.ending = after, set()
        return failed

    async def alerts_at(
        self, number: int, queries: RuleQueries, tick_ms: int
    ) -> Mapping[Labels, ActiveAlert]:
        """Return the alerts that a rule yields at a tick, which changes nothing. Raises QueryError."""
        rule = self.group.rules[number]
        vector = await self._vector(rule, queries, tick_ms)
        if not vector or not isinstance(rule, AlertingRule):
            return {}
        return await self._alerts(rule, vector, queries, tick_ms)

    async def _vector(self, rule: Rule, queries: RuleQueries, tick_ms: int) -> InstantVector:
        """Return the vector of a rule's expression at a tick. Raises QueryError."""
        vector = await queries.query(rule.expr, rule.text, tick_ms - self.group.query_offset_ms)
        check_series(len(vector), self._max_series)
        return vector

    async def _result(
        self, number: int, rule: Rule, queries: RuleQueries, tick_ms: int
    ) -> Sequence[tuple[Labels, float]] | Sequence[tuple[Labels, RecordedHistogram]]:
        if isinstance(rule, RecordingRule) and rule.is_histogram:
            at_ms = tick_ms - self.group.query_offset_ms
            found_histograms = await queries.query_histograms(rule.expr, rule.text, at_ms)
            check_series(len(found_histograms), self._max_series)
            return self._recorded(rule, found_histograms)
        vector = await self._vector(rule, queries, tick_ms)
        if isinstance(rule, RecordingRule):
            if len(vector) > _AT_ONCE:
                return await queries.apart(partial(self._recorded, rule, vector))
            return self._recorded(rule, vector)
        states = self.states[number]
        assert states is not None
        found = await self._alerts(rule, vector, queries, tick_ms) if vector else {}
        limits = [limit for limit in (self.group.limit, self._max_series) if limit]
        states.update(found, tick_ms, min(limits, default=0), self._max_series)
        return list(states.series())

    def _recorded(
        self, rule: RecordingRule, vector: Sequence[tuple[Labels, T]]
    ) -> Sequence[tuple[Labels, T]]:
        own = rule.stored_labels
        found = [(lb.make({**dict(labels), lb.NAME: rule.name, **own}), v) for labels, v in vector]
        if len({labels for labels, _ in found}) < len(found):
            raise ExecutionError(_SAME_LABELS.format("rule"))
        if self.group.limit and len(found) > self.group.limit:
            raise ExecutionError(f"exceeded limit of {self.group.limit} with {len(found)} series")
        return found

    async def _alerts(
        self, rule: AlertingRule, vector: InstantVector, queries: RuleQueries, tick_ms: int
    ) -> dict[Labels, ActiveAlert]:
        at_ms = tick_ms - self.group.query_offset_ms

        def query(text: str) -> list[TemplateSample]:
            try:
                return [TemplateSample(dict(ls), v) for ls, v in queries.query_text(text, at_ms)]
            except QueryError as e:
                raise ValueError(str(e)) from None

        def expand() -> dict[Labels, ActiveAlert]:
            found: dict[Labels, ActiveAlert] = {}
            size = 0
            for series, value in vector:
                queries.check_time()
                values = AlertValues(dict(series), value, query, self._external.labels, self._external.url)
                own = {name: expanded(rule.name, text, values) for name, text in rule.labels.items()}
                kept = {k: v for k, v in series if k != lb.NAME}
                labels = lb.make({**kept, **own, "alertname": rule.name})
                if labels in found:
                    raise ExecutionError(_SAME_LABELS.format("alert"))
                notes = {name: expanded(rule.name, text, values) for name, text in rule.annotations.items()}
                size += sum(map(len, (*own.values(), *notes.values())))
                if size > _MAX_TEXT:
                    raise ExecutionError(f"the templates of the rule write more than {_MAX_TEXT} characters")
                found[labels] = ActiveAlert(labels, notes, value, tick_ms)
            return found

        return await queries.apart(expand)
