"""A rule file: groups of alerting and recording rules, checked as strictly as Prometheus does. Pure.

Source: Prometheus 3.x `model/rulefmt/rulefmt.go`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from shim.model.errors import QueryError
from shim.model.labels import NAME, TYPE
from shim.plan.parse import parse
from shim.promql.ast import Expr
from shim.promql.go_strings import is_label_name
from shim.promql.typecheck import type_of
from shim.rules.rule_yaml import RuleFileError, RuleYaml
from shim.rules.templates.alert_template import alert_template
from shim.rules.templates.template_lexer import TemplateError

_GROUP_KEYS: Final = ("name", "interval", "query_offset", "limit", "rules", "labels")
_RULE_KEYS: Final = ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
#: Values of the label `__type__` of a recording rule.
_RECORDED_TYPES: Final = ("gauge", "counter", "histogram")


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """A rule whose result becomes series of its name."""

    name: str
    expr: Expr
    text: str  # of the expression
    labels: Mapping[str, str]

    @property
    def is_counter(self) -> bool:
        """Whether its values are deltas of counters: the label `__type__` says so."""
        return self.labels.get(TYPE) == "counter"

    @property
    def is_histogram(self) -> bool:
        """Whether its values are native histograms, stored as deltas of distributions."""
        return self.labels.get(TYPE) == "histogram"

    @property
    def records_deltas(self) -> bool:
        """Whether its values lie before the tick and add up; such series do not end."""
        return self.is_counter or self.is_histogram

    @property
    def stored_labels(self) -> Mapping[str, str]:
        """The labels that its series get."""
        return {name: value for name, value in self.labels.items() if name != TYPE}


@dataclass(frozen=True, slots=True)
class AlertingRule:
    """A rule whose result are alerts."""

    name: str
    expr: Expr
    text: str  # of the expression
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    for_ms: int
    keep_firing_for_ms: int


Rule = RecordingRule | AlertingRule


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules that are evaluated in order, at the same times."""

    name: str
    file: str
    interval_ms: int | None  # None: the server's
    query_offset_ms: int
    limit: int  # of series or alerts per rule; 0: none
    rules: Sequence[Rule]


@dataclass(slots=True)
class RuleRoom:
    """The groups and rules that an org may have, and those that it has."""

    max_groups: int
    max_rules: int
    groups: int = 0  # of the other files, and of this one as it is read
    rules: int = 0

    def take_group(self, reader: RuleYaml, node: yaml.Node) -> None:
        """Count a group. Raises RuleLimitError."""
        self.groups += 1
        if self.groups > self.max_groups:
            told = f"more than {self.max_groups} groups (setting shim.rules.max_groups)"
            reader.refuse(node, f"the org's rule files have {told}")

    def take_rule(self, reader: RuleYaml, node: yaml.Node) -> None:
        """Count a rule. Raises RuleLimitError."""
        self.rules += 1
        if self.rules > self.max_rules:
            told = f"more than {self.max_rules} rules (setting shim.rules.max_rules)"
            reader.refuse(node, f"the org's rule files have {told}")


def parse_rule_file(file: str, text: str, room: RuleRoom | None = None) -> list[RuleGroup]:
    """Return the groups of a file, of its first document alone. Raises RuleFileError, with all problems.

    Raises RuleLimitError if they do not fit into `room`; None: any number fits.
    """
    room = room or RuleRoom(sys.maxsize, sys.maxsize)
    reader = RuleYaml(file)
    table = reader.table(reader.first_document(text), ("groups",), "rule file")
    groups, problems = [], list[str]()
    seen: set[str] = set()
    for node in reader.list(table.get("groups"), "groups"):
        room.take_group(reader, node)
        group = _Group(reader, node, problems, room)
        groups.append(group.read())
        if groups[-1].name in seen:
            group.problem(node, f'groupname: "{groups[-1].name}" is repeated in the same file')
        seen.add(groups[-1].name)
    if problems:
        raise RuleFileError("\n".join(problems))
    return groups


def doubtful_rules(groups: Sequence[RuleGroup]) -> list[str]:
    """Return a line for each rule that is accepted but cannot work as it is meant."""
    rules = [rule for group in groups for rule in group.rules]
    keys = Counter((type(rule), rule.name, tuple(sorted(rule.labels.items()))) for rule in rules)
    repeated = [
        f"{name} with labels {dict(labels)} occurs {count} times: one may overwrite the result of the other"
        for (_, name, labels), count in keys.items()
        if count > 1
    ]
    return repeated + [
        f"{rule.name}: the result is a {type_of(rule.expr)}: evaluations fail; expected a vector or scalar"
        for rule in rules
        if type_of(rule.expr) not in ("scalar", "vector")
    ]


class _Group:
    """Reads one group; problems of its values are gathered, those of its form are raised."""

    def __init__(self, reader: RuleYaml, node: yaml.Node, problems: list[str], room: RuleRoom) -> None:
        self.reader = reader
        self.node = node
        self.problems = problems
        self.room = room

    def problem(self, node: yaml.Node, text: str) -> None:
        self.problems.append(f"{self.reader.file}:{node.start_mark.line + 1}: {text}")

    def read(self) -> RuleGroup:
        reader = self.reader
        table = reader.table(self.node, _GROUP_KEYS, "group")
        name = reader.text(table.get("name"), "group: name")
        where = f'group "{name}"'
        if not name:
            self.problem(self.node, "Groupname must not be empty")
        labels = reader.texts(table.get("labels"), f"{where}: labels")
        self.check_labels(table.get("labels"), labels, where)
        rules = []
        for number, node in enumerate(reader.list(table.get("rules"), f"{where}: rules"), 1):
            self.room.take_rule(reader, node)
            rule = self.rule(node, f"{where}, rule {number}", labels)
            if rule is not None:
                rules.append(rule)
        interval_ms = reader.duration_ms(table, "interval", where)
        return RuleGroup(
            name,
            reader.file,
            interval_ms or None,
            reader.duration_ms(table, "query_offset", where) or 0,
            reader.whole(table, "limit", where),
            tuple(rules),
        )

    def rule(self, node: yaml.Node, where: str, group_labels: Mapping[str, str]) -> Rule | None:
        """Return the rule of a node, None if it has problems."""
        reader, before = self.reader, len(self.problems)
        table = reader.table(node, _RULE_KEYS, where)
        record, alert, text = (
            reader.text(table.get(key), f"{where}: {key}") for key in ("record", "alert", "expr")
        )
        where = f'{where}, "{record or alert}"'
        if bool(record) == bool(alert):
            which = "only one of" if record else "one of"
            self.problem(node, f"{where}: {which} 'record' and 'alert' must be set")
        expr = self.expression(table, node, where, text)
        labels = reader.texts(table.get("labels"), f"{where}: labels")
        self.check_labels(table.get("labels"), labels, where)
        annotations = reader.texts(table.get("annotations"), f"{where}: annotations")
        for_ms = reader.duration_ms(table, "for", where) or 0
        keep_ms = reader.duration_ms(table, "keep_firing_for", where) or 0
        if record:
            self.check_recording(table, where, record, (bool(annotations), bool(for_ms), bool(keep_ms)))
            if labels.get(TYPE, "gauge") not in _RECORDED_TYPES:
                self.problem(
                    table["labels"],
                    f"{where}: {TYPE} = {labels[TYPE]!r}: expected gauge, counter or histogram",
                )
        else:
            self.check_templates(table, where, alert, labels, annotations)
        if expr is None or len(self.problems) > before:
            return None
        labels = {**group_labels, **labels}
        if record:
            return RecordingRule(record, expr, text, labels)
        return AlertingRule(alert, expr, text, labels, annotations, for_ms, keep_ms)

    def expression(
        self, table: Mapping[str, yaml.Node], node: yaml.Node, where: str, text: str
    ) -> Expr | None:
        if not text:
            self.problem(table.get("expr", node), f"{where}: field 'expr' must be set in rule")
            return None
        try:
            expr = parse(text)
        except QueryError as e:
            self.problem(table["expr"], f"{where}: could not parse expression: {e}")
            return None
        return expr

    def check_recording(
        self, table: Mapping[str, yaml.Node], where: str, name: str, given: Sequence[bool]
    ) -> None:
        for key, is_given in zip(("annotations", "for", "keep_firing_for"), given, strict=True):
            if is_given:
                self.problem(table[key], f"{where}: invalid field '{key}' in recording rule")
        if not is_label_name(name) or "{" in name or "}" in name:
            self.problem(
                table["record"], f"{where}: invalid recording rule name: {name}; labels go into 'labels'"
            )

    def check_labels(self, node: yaml.Node | None, labels: Mapping[str, str], where: str) -> None:
        for name in labels:
            if node is not None and (not is_label_name(name) or name == NAME):
                self.problem(node, f"{where}: invalid label name: {name}")

    def check_templates(
        self,
        table: Mapping[str, yaml.Node],
        where: str,
        alert: str,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
    ) -> None:
        for key, texts in (("label", labels), ("annotation", annotations)):
            for name, text in texts.items():
                if not is_label_name(name):
                    self.problem(table[f"{key}s"], f"{where}: invalid {key} name: {name}")
                try:
                    alert_template(alert, text)
                except TemplateError as e:
                    self.problem(table[f"{key}s"], f'{where}: {key} "{name}": {e}')
