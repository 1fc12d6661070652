"""The alerts that one rule keeps in memory, where each tick has other ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from shim.model import labels as lb
from shim.model.errors import ExecutionError
from shim.rules.alert_states import ActiveAlert, AlertStates
from shim.rules.group_evaluation import External, GroupEvaluation
from shim.rules.memory_engine import MemoryEngine
from shim.rules.memory_samples import MemorySamples
from shim.rules.rule_file import AlertingRule, parse_rule_file
from shim.rules.rule_queries import result_of

RULES = "groups: [{name: g, rules: [{alert: A, expr: x, keep_firing_for: %s}]}]"


def _states(keep: str) -> AlertStates:
    (group,) = parse_rule_file("r.yml", RULES % keep)
    (rule,) = group.rules
    assert isinstance(rule, AlertingRule)
    return AlertStates(rule)


def _tick(states: AlertStates, tick: int) -> None:
    labels = [lb.make({"alertname": "A", "n": f"{tick}-{n}"}) for n in range(3)]
    found = {one: ActiveAlert(one, {}, 1.0, tick) for one in labels}
    states.update(found, tick, 3, max_resolved=3)


def test_the_latest_resolved_alerts_are_remembered() -> None:
    states = _states("0s")
    for tick in range(1, 20):
        _tick(states, tick)
    assert len(states.active) == 6
    assert {alert.resolved_at_ms for alert in states.active.values()} == {None, 19}


def test_alerts_that_are_kept_firing_count() -> None:
    states = _states("1d")
    _tick(states, 1)
    with pytest.raises(ExecutionError, match="exceeded limit of 3 with 6 alerts"):
        _tick(states, 2)
    assert not states.active


def test_the_texts_of_a_rules_alerts_are_bounded() -> None:
    samples = MemorySamples()
    for n in range(20):
        samples.append(lb.make({lb.NAME: "x", "n": str(n)}), 0, 1.0)
    text = "{{ range 100 }}{{ printf `%10000d` 1 }}{{ end }}"
    (group,) = parse_rule_file(
        "r.yml", f'groups: [{{name: g, rules: [{{alert: A, expr: x, annotations: {{a: "{text}"}}}}]}}]'
    )
    evaluation = GroupEvaluation(group, External())
    with ThreadPoolExecutor(1) as pool:
        failed = result_of(evaluation.evaluate(0, MemoryEngine(samples, 60_000, pool), samples))
    assert failed == [("A", "the templates of the rule write more than 16777216 characters")]
