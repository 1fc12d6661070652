"""Queries that may be evaluated before the earlier rules of their group: they read nothing of them."""

from __future__ import annotations

import pytest

from shim.rules.early_queries import early_queries
from shim.rules.rule_file import parse_rule_file


def early(*rules: str, alerts: bool = True) -> list[str]:
    text = "groups:\n- name: g\n  rules:\n" + "".join(f"  - {{{rule}}}\n" for rule in rules)
    (group,) = parse_rule_file("r.yml", text)
    return list(early_queries(group.rules, alerts=alerts))


def test_a_query_of_an_earlier_result_is_not_early() -> None:
    assert early("record: a, expr: x", "record: b, expr: a + x", "record: c, expr: y") == ["x", "y"]


def test_a_result_is_no_matter_before_its_rule() -> None:
    assert early("record: b, expr: a", "record: a, expr: x") == ["a", "x"]


def test_a_selector_of_any_name_is_early_at_the_first_rule_alone() -> None:
    read_any = "expr: 'count({job=\"a\"})'"
    assert early(f"record: n, {read_any}", "record: a, expr: x") == ['count({job="a"})', "x"]
    assert early("record: a, expr: x", f"record: n, {read_any}") == ["x"]


@pytest.mark.parametrize("name", ["ALERTS", "ALERTS_FOR_STATE", "ALERTS_KEEP_FIRING_SINCE"])
def test_states_of_alerts_are_results(name: str) -> None:
    rules = ("alert: A, expr: x > 1", f"record: n, expr: count({name})")
    assert early(*rules) == ["x > 1"]
    assert early(*rules, alerts=False) == [f"count({name})"]


def test_equal_queries_are_asked_once() -> None:
    assert early("record: a, expr: x", "alert: A, expr: x") == ["x"]
