"""A file of unit tests for rules, in the form of `promtool test rules`. Pure.

Source: Prometheus 3.x `cmd/promtool/unittest.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import yaml

from shim.model import labels as lb
from shim.model.durations import format_duration
from shim.model.errors import QueryError
from shim.model.labels import Labels
from shim.model.number_format import format_g
from shim.rules.group_evaluation import External
from shim.rules.memory_samples import STALE
from shim.rules.rule_yaml import RuleFileError, RuleYaml
from shim.rules.series_notation import TestValue, parse_metric, parse_values

_FILE_KEYS: Final = ("rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare", "tests")
_TEST_KEYS: Final = (
    "interval", "input_series", "alert_rule_test", "promql_expr_test",
    "external_labels", "external_url", "name",
)  # fmt: skip
_INPUT_KEYS: Final = ("series", "statsd", "values")
#: Lines of StatsD of one test.
_MAX_LINES: Final = 1_000_000
#: Evaluations of each group; 19 years of minutes.
_MAX_TICKS: Final = 10_000_000
_DEFAULT_INTERVAL_MS: Final = 60_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InputSeries:
    """One series with a value per interval from time 0 on."""

    labels: Labels
    values: Sequence[TestValue]


@dataclass(frozen=True, slots=True)
class InputLine:
    """A line of StatsD that arrives at `at_ms`."""

    at_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class ExpectedAlert:
    """Labels, with the alert's name, and annotations, empty ones too."""

    labels: Labels
    annotations: Labels


@dataclass(frozen=True, slots=True)
class AlertCase:
    """The alerts of one name that fire at `at_ms`."""

    line: int
    at_ms: int
    alert: str
    expected: Sequence[ExpectedAlert]


@dataclass(frozen=True, slots=True)
class ExpressionCase:
    """The result of an expression at `at_ms`."""

    line: int
    at_ms: int
    expr: str
    expected: Sequence[tuple[Labels, float]]


@dataclass(frozen=True, slots=True)
class RuleTest:
    """One test: its series and its cases."""

    line: int
    name: str
    interval_ms: int
    series: Sequence[InputSeries]
    lines: Sequence[InputLine]  # in the order of their times
    alerts: Sequence[AlertCase]
    expressions: Sequence[ExpressionCase]
    external: External

    @property
    def end_ms(self) -> int:
        """The time of the last case."""
        times_ms = [case.at_ms for case in self.alerts] + [case.at_ms for case in self.expressions]
        return max(times_ms, default=0)


@dataclass(frozen=True, slots=True)
class UnitTestFile:
    """Tests, and the rule files that they are about (paths relative to the file, with wildcards)."""

    rule_files: Sequence[str]
    evaluation_interval_ms: int
    group_order: Mapping[str, int]
    fuzzy: bool
    tests: Sequence[RuleTest]


def parse_unit_tests(file: str, text: str) -> UnitTestFile:
    """Return the tests of a file. Raises RuleFileError."""
    reader = _TestReader(file)
    table = reader.table(reader.first_document(text), _FILE_KEYS, "test file")
    interval_ms = reader.duration_ms(table, "evaluation_interval", "test file") or _DEFAULT_INTERVAL_MS
    order = reader.list(table.get("group_eval_order"), "group_eval_order")
    tests = [reader.test(node, interval_ms) for node in reader.list(table.get("tests"), "tests")]
    for test in tests:
        if test.end_ms // interval_ms >= _MAX_TICKS:
            place = f"{file}:{test.line}: evaluation_interval = {format_duration(interval_ms)}"
            raise RuleFileError(
                f"{place}: at most {_MAX_TICKS} intervals up to the last eval_time are accepted"
            )
    return UnitTestFile(
        [reader.text(n, "rule_files") for n in reader.list(table.get("rule_files"), "rule_files")],
        interval_ms,
        {reader.text(node, "group_eval_order"): i for i, node in enumerate(order)},
        reader.text(table.get("fuzzy_compare"), "fuzzy_compare").lower() == "true",
        tests,
    )


class _TestReader(RuleYaml):
    """Reads the parts of a test."""

    def test(self, node: yaml.Node, default_ms: int) -> RuleTest:
        table = self.table(node, _TEST_KEYS, "test")
        interval_ms = self.duration_ms(table, "interval", "test") or default_ms
        series, lines = self.inputs(self.list(table.get("input_series"), "input_series"), interval_ms)
        return RuleTest(
            node.start_mark.line + 1,
            self.text(table.get("name"), "name"),
            interval_ms,
            series,
            lines,
            [self.alert(n) for n in self.list(table.get("alert_rule_test"), "alert_rule_test")],
            [self.expression(n) for n in self.list(table.get("promql_expr_test"), "promql_expr_test")],
            External(
                self.texts(table.get("external_labels"), "external_labels"),
                self.text(table.get("external_url"), "external_url"),
            ),
        )

    def inputs(
        self, nodes: Sequence[yaml.Node], interval_ms: int
    ) -> tuple[list[InputSeries], list[InputLine]]:
        """Return the series, and the lines in the order of their times."""
        series: list[InputSeries] = []
        lines: list[InputLine] = []
        for node in nodes:
            table = self.table(node, _INPUT_KEYS, "input_series")
            if "statsd" in table:
                lines += self.lines(node, table, interval_ms)
                if len(lines) > _MAX_LINES:
                    self.fail(node, f"input_series: at most {_MAX_LINES} lines of StatsD are accepted")
            else:
                series.append(self.series(node, table))
        return series, sorted(lines, key=lambda line: line.at_ms)

    def lines(self, node: yaml.Node, table: Mapping[str, yaml.Node], interval_ms: int) -> Iterator[InputLine]:
        """Yield a line for each value that is not missing: `{}` in its text is the value."""
        text = self.text(table["statsd"], "statsd")
        if "series" in table or text.count("{}") != 1 or "\n" in text or "|T" in text:
            self.fail(
                node,
                "input_series: statsd: expected one line with {} for the value, as in 'hits:{}|c|#route:/',"
                " without a time (|T), and no series beside it",
            )
        values = self.told(node, parse_values, self.text(table.get("values"), "values"))
        for number, value in enumerate(values):
            if value is STALE:
                self.fail(node, "input_series: values = stale: expected numbers or _ for lines of StatsD")
            if not isinstance(value, str):
                yield InputLine(number * interval_ms, text.replace("{}", format_g(value)))

    def series(self, node: yaml.Node, table: Mapping[str, yaml.Node]) -> InputSeries:
        labels = self.told(node, parse_metric, self.text(table.get("series"), "series"))
        return InputSeries(labels, self.told(node, parse_values, self.text(table.get("values"), "values")))

    def alert(self, node: yaml.Node) -> AlertCase:
        table = self.table(node, ("eval_time", "alertname", "exp_alerts"), "alert_rule_test")
        name = self.text(table.get("alertname"), "alertname")
        if not name:
            self.fail(node, "alert_rule_test: alertname is missing; expected the name of an alerting rule")
        expected = []
        for one in self.list(table.get("exp_alerts"), "exp_alerts"):
            parts = self.table(one, ("exp_labels", "exp_annotations"), "exp_alerts")
            labels = {**self.texts(parts.get("exp_labels"), "exp_labels"), "alertname": name}
            annotations = self.texts(parts.get("exp_annotations"), "exp_annotations")
            expected.append(ExpectedAlert(lb.make(labels), tuple(sorted(annotations.items()))))
        at_ms = self.duration_ms(table, "eval_time", "alert_rule_test") or 0
        return AlertCase(node.start_mark.line + 1, at_ms, name, expected)

    def expression(self, node: yaml.Node) -> ExpressionCase:
        table = self.table(node, ("expr", "eval_time", "exp_samples"), "promql_expr_test")
        expected = []
        for one in self.list(table.get("exp_samples"), "exp_samples"):
            parts = self.table(one, ("labels", "value", "histogram"), "exp_samples")
            if "histogram" in parts:
                self.fail(one, "exp_samples: native histograms are not supported; expected a value")
            labels = self.told(one, parse_metric, self.text(parts.get("labels"), "labels"))
            expected.append((labels, self.number(one, self.text(parts.get("value"), "value"))))
        at_ms = self.duration_ms(table, "eval_time", "promql_expr_test") or 0
        return ExpressionCase(node.start_mark.line + 1, at_ms, self.text(table.get("expr"), "expr"), expected)

    def number(self, node: yaml.Node, text: str) -> float:
        try:
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan") or 0)
        except ValueError:
            self.fail(node, f"exp_samples: value = {text!r}: expected a number")

    def told(self, node: yaml.Node, read: Callable[[str], T], text: str) -> T:
        """Call `read`; its error gets the line of the node."""
        try:
            return read(text)
        except QueryError as e:
            self.fail(node, str(e))
