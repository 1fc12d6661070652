"""Rule files: the groups of right ones, and each problem of wrong ones with its line."""

from __future__ import annotations

from typing import Final

import pytest

from shim.model.durations import format_duration, parse_duration
from shim.rules.rule_file import AlertingRule, RecordingRule, doubtful_rules, parse_rule_file
from shim.rules.rule_yaml import RuleFileError

FULL: Final = """
groups:
  - name: api
    interval: 30s
    query_offset: 1m
    limit: 10
    labels: {team: core, severity: none}
    rules:
      - record: job:errors:rate5m
        expr: sum by (job) (rate(errors[5m]))
      - &down
        alert: Down
        expr: up == 0
        for: 5m
        keep_firing_for: 1h30m
        labels: {severity: page, level: 3}
        annotations: {summary: "{{ $labels.job }} is down"}
      - <<: *down
        alert: DownLong
        for: 1d
---
groups: not read
"""


def test_a_file_with_everything() -> None:
    (group,) = parse_rule_file("r.yml", FULL)
    assert (group.name, group.interval_ms, group.query_offset_ms, group.limit) == ("api", 30_000, 60_000, 10)
    recorded, down, long = group.rules
    assert isinstance(recorded, RecordingRule)
    assert recorded.labels == {"team": "core", "severity": "none"}
    assert isinstance(down, AlertingRule)
    assert (down.for_ms, down.keep_firing_for_ms) == (300_000, 5_400_000)
    assert down.labels == {"team": "core", "severity": "page", "level": "3"}
    assert isinstance(long, AlertingRule)
    assert (long.name, long.for_ms, long.annotations) == ("DownLong", 86_400_000, down.annotations)


def test_tables_are_merged_the_first_wins() -> None:
    text = rule("&a {record: a, expr: up, for: 0s}") + "  - &b {expr: down}\n  - {<<: [*b, *a], record: c}\n"
    with pytest.raises(RuleFileError, match=r"r\.yml:5: .* one of 'record' and 'alert' must be set"):
        parse_rule_file("r.yml", text)
    (group,) = parse_rule_file("r.yml", text.replace("&b {", "&b {record: b, "))
    assert [(rule.name, rule.text) for rule in group.rules] == [("a", "up"), ("b", "down"), ("c", "down")]


@pytest.mark.parametrize("text", ["", "groups:", "groups: []", "# nothing"])
def test_files_without_groups(text: str) -> None:
    assert parse_rule_file("r.yml", text) == []


def rule(text: str) -> str:
    """Return a file with one rule, which begins at line 4."""
    return f"groups:\n- name: g\n  rules:\n  - {text}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a", "r.yml:1: rule file: expected a table"),
        ("groups: 5", "r.yml:1: groups: expected a list"),
        ("groups:\n- rules: []", "r.yml:2: Groupname must not be empty"),
        ("groups:\n- name: a\n- name: a", 'r.yml:3: groupname: "a" is repeated in the same file'),
        ("groups:\n- name: a\n  name: b", "r.yml:3: group: key 'name' is repeated"),
        (
            "groups:\n- name: a\n  interval: 5x",
            'interval: not a valid duration string: "5x"; expected one like',
        ),
        ("groups:\n- name: a\n  limit: -1", "limit = '-1': expected a whole number from 0 on"),
        ("groups:\n- name: a\n  labels: {__name__: x}", "invalid label name: __name__"),
        (rule("{expr: up}"), "r.yml:4: group \"g\", rule 1, \"\": one of 'record' and 'alert' must be set"),
        (rule("{record: a, alert: b, expr: up}"), "only one of 'record' and 'alert' must be set"),
        (rule("{record: a}"), "field 'expr' must be set in rule"),
        (
            rule("record: a\n    expr: 'up +'"),
            'r.yml:5: group "g", rule 1, "a": could not parse expression: 1:5',
        ),
        (rule("{record: a, expr: up, for: 5m}"), "invalid field 'for' in recording rule"),
        (rule("{record: 'a{b=\"c\"}', expr: up}"), "invalid recording rule name"),
        (rule("{alert: a, expr: up, labels: {__name__: x}}"), "invalid label name: __name__"),
        (
            rule("{alert: a, expr: up, annotations: {s: '{{ $x }}'}}"),
            'annotation "s": template: __alert_a:1: undefined',
        ),
        (rule("{alert: a, expr: up, fro: 5m}"), "unknown key 'fro'; accepted are alert, annotations"),
        ("groups: [" * 100, "r.yml:1: nested too deep"),
        ("groups:\n- &a\n  name: x\n  <<: *a", "group: tables are merged too deep: at most 64"),
        ("groups: [\n", "r.yml:2: "),
    ],
)
def test_problems_name_their_line(text: str, problem: str) -> None:
    with pytest.raises(RuleFileError) as e:
        parse_rule_file("r.yml", text)
    assert problem in str(e.value)


def test_all_problems_are_told_at_once() -> None:
    text = "groups:\n- name: g\n  rules:\n  - {record: a}\n  - {alert: b}\n"
    with pytest.raises(RuleFileError) as e:
        parse_rule_file("r.yml", text)
    assert [line[:8] for line in str(e.value).splitlines()] == ["r.yml:4:", "r.yml:5:"]


def test_aliases_do_not_multiply() -> None:
    lists = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 9))
    with pytest.raises(RuleFileError):
        parse_rule_file("r.yml", f"l0: &l0 [{{}}]\n{lists}groups: *l8\n")


def test_rules_that_cannot_work_are_doubted() -> None:
    text = rule("{record: a, expr: up}") + "  - {record: a, expr: up}\n  - {record: b, expr: 'up[5m]'}\n"
    first, second = doubtful_rules(parse_rule_file("r.yml", text))
    assert "a with labels {} occurs 2 times" in first
    assert "b: the result is a matrix" in second


@pytest.mark.parametrize(
    ("text", "ms", "shown"),
    [("0", 0, "0s"), ("90s", 90_000, "1m30s"), ("1h30m", 5_400_000, "1h30m"), ("1d", 86_400_000, "1d"),
     ("2w", 1_209_600_000, "2w"), ("8d", 691_200_000, "8d"),
     ("1y2w3d4h5m6s7ms", 33_019_506_007, "382d4h5m6s7ms")],
)  # fmt: skip
def test_durations(text: str, ms: int, shown: str) -> None:
    assert parse_duration(text) == ms
    assert format_duration(ms) == shown


@pytest.mark.parametrize("text", ["", "5", "5x", "1m1h", "-5m", "1.5h", "999999999y"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
