"""Runs unit tests of rules: groups at every tick, then alerts and expressions. Pure, but for its thread pool.

Source: Prometheus 3.x `cmd/promtool/unittest.go`: all groups are evaluated at every evaluation_interval,
whatever their own interval is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from shim.model.durations import format_duration
from shim.model.errors import QueryError
from shim.model.labels import Labels
from shim.model.messages import format_labels
from shim.model.number_format import format_g
from shim.rules.group_evaluation import GroupEvaluation
from shim.rules.memory_engine import MemoryEngine
from shim.rules.memory_samples import MemorySamples
from shim.rules.rule_file import RuleGroup
from shim.rules.rule_queries import result_of
from shim.rules.series_notation import MISSING
from shim.rules.unit_test_file import AlertCase, ExpectedAlert, ExpressionCase, RuleTest, UnitTestFile

#: Opens the engine of a test: its samples in memory, the step of subqueries, its pool.
OpenEngine = Callable[[RuleTest, MemorySamples, int, ThreadPoolExecutor], MemoryEngine]


def failures(
    file: UnitTestFile, groups: Sequence[RuleGroup], test: RuleTest, open_engine: OpenEngine | None = None
) -> list[str]:
    """Return a text for each case of a test that fails; nothing: it passes.

    `open_engine`: opens the engine of a test with lines of StatsD; None: one over samples in memory.
    """
    ordered = sorted(groups, key=lambda group: file.group_order.get(group.name, 0))
    with ThreadPoolExecutor(1) as pool:
        return list(_Run(file, ordered, test, pool, open_engine or _memory_engine).failures())


def _memory_engine(
    test: RuleTest, samples: MemorySamples, subquery_step_ms: int, pool: ThreadPoolExecutor
) -> MemoryEngine:
    del test
    return MemoryEngine(samples, subquery_step_ms, pool)


class _Run:
    def __init__(
        self,
        file: UnitTestFile,
        groups: Sequence[RuleGroup],
        test: RuleTest,
        pool: ThreadPoolExecutor,
        open_engine: OpenEngine,
    ) -> None:
        self.file = file
        self.test = test
        self.samples = MemorySamples()
        self.engine = open_engine(test, self.samples, file.evaluation_interval_ms, pool)
        self.groups = [GroupEvaluation(group, test.external) for group in groups]
        self.loaded = 0  # intervals of the input series

    def failures(self) -> Iterator[str]:
        step_ms = self.file.evaluation_interval_ms
        cases = defaultdict[int, list[AlertCase]](list)
        for case in self.test.alerts:
            cases[case.at_ms // step_ms].append(case)
        for tick in range(self.test.end_ms // step_ms + 1):
            self.load(tick * step_ms)
            failed = list(self.tick(tick * step_ms))
            if failed:
                yield from failed
                return
            for case in sorted(cases[tick], key=lambda case: case.at_ms):
                yield from self.alerts(case)
        self.load(None)
        for expression in self.test.expressions:
            yield from self.expression(expression)

    def load(self, until_ms: int | None) -> None:
        """Append the input up to a time; None: all."""
        longest = max((len(s.values) for s in self.test.series), default=0)
        ends = longest if until_ms is None else min(longest, until_ms // self.test.interval_ms + 1)
        for i in range(self.loaded, ends):
            for series in self.test.series:
                if i < len(series.values) and (value := series.values[i]) != MISSING:
                    assert not isinstance(value, str)
                    self.samples.append(series.labels, i * self.test.interval_ms, value)
        self.loaded = max(self.loaded, ends)

    def tick(self, tick_ms: int) -> Iterator[str]:
        for group in self.groups:
            for name, error in result_of(group.evaluate(tick_ms, self.engine, self.samples)):
                yield f'group "{group.group.name}", rule {name} at {format_duration(tick_ms)}: {error}'

    # ------------------------------------------------------------ cases

    def alerts(self, case: AlertCase) -> Iterator[str]:
        got = [
            ExpectedAlert(alert.labels, tuple(sorted(alert.annotations.items())))
            for group in self.groups
            for states in group.states
            if states is not None and states.rule.name == case.alert
            for alert in states.firing()
        ]
        if sorted(got, key=_alert_key) != sorted(case.expected, key=_alert_key):
            title = f"line {case.line}: alert {case.alert} at {format_duration(case.at_ms)}"
            yield _difference(title, [*map(_alert_text, case.expected)], [*map(_alert_text, got)])

    def expression(self, case: ExpressionCase) -> Iterator[str]:
        title = f"line {case.line}: {case.expr} at {format_duration(case.at_ms)}"
        try:
            got = self.engine.query_text(case.expr, case.at_ms)
        except QueryError as e:
            yield f"{title}: {e}"
            return
        if not self.same(sorted(case.expected, key=_labels), sorted(got, key=_labels)):
            wanted = [_sample_text(*sample) for sample in case.expected]
            yield _difference(title, wanted, [_sample_text(*sample) for sample in got])

    def same(self, wanted: Sequence[tuple[Labels, float]], got: Sequence[tuple[Labels, float]]) -> bool:
        if [labels for labels, _ in wanted] != [labels for labels, _ in got]:
            return False
        return all(self.equal(a, b) for (_, a), (_, b) in zip(wanted, got, strict=True))

    def equal(self, a: float, b: float) -> bool:
        if a == b or (math.isnan(a) and math.isnan(b)):
            return True
        return self.file.fuzzy and b in (math.nextafter(a, math.inf), math.nextafter(a, -math.inf))


def _labels(sample: tuple[Labels, float]) -> Labels:
    return sample[0]


def _alert_key(alert: ExpectedAlert) -> tuple[Labels, Labels]:
    return alert.labels, alert.annotations


def _alert_text(alert: ExpectedAlert) -> str:
    labels = format_labels(alert.labels)
    return f"{labels} annotations {format_labels(alert.annotations)}" if alert.annotations else labels


def _sample_text(labels: Labels, value: float) -> str:
    return f"{format_labels(labels)} {format_g(value)}"


def _difference(title: str, wanted: Sequence[str], got: Sequence[str]) -> str:
    """Return the lines that differ: `-` expected and missing, `+` found and not expected."""
    left, extra = list(got), []
    for line in wanted:
        if line in left:
            left.remove(line)
        else:
            extra.append(line)
    lines = [f"  - {line}" for line in sorted(extra)] + [f"  + {line}" for line in sorted(left)]
    same = len(got) - len(left)
    return "\n".join([title, *lines, *([f"    ({same} as expected)"] if same else [])])
