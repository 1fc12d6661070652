"""deploy/: the alerts, and the queries of dashboards over Meterhouse's own metrics, name known metrics."""

from __future__ import annotations

from shim.cli.check_rules import read_rule_file
from shim.plan.parse import parse
from shim.rules.rule_file import AlertingRule, doubtful_rules
from tests.support.dashboards import FILES, filled, macros, read
from tests.support.own_metrics import OWN_SOURCE, RULES, known_names, names_in


def test_every_panel_names_metrics_that_exist() -> None:
    known, values = known_names(), {**macros(15, 3600), "instance": ".*", "agent": ".*"}
    queries = [q for file in FILES for q in read(file).queries() if q.source == OWN_SOURCE]
    assert queries
    for query in queries:
        names = set(names_in(parse(filled(query.expr, values))))
        assert names, query.title
        assert names <= known, query.title


def test_every_alert_names_metrics_that_exist() -> None:
    groups = read_rule_file(str(RULES))
    assert doubtful_rules(groups) == []
    known = known_names()
    rules = [rule for group in groups for rule in group.rules]
    for rule in rules:
        assert set(names_in(rule.expr)) <= known, rule.name
        assert isinstance(rule, AlertingRule)
        assert rule.labels["severity"] in ("critical", "warning", "info")
        assert "summary" in rule.annotations
    assert len({rule.name for rule in rules}) == len(rules)


def test_the_names_of_an_expression_are_found() -> None:
    expr = (
        "sum by (a) (rate(x_total[5m])) / on (b) max_over_time(y[1h:1m]) or -z + histogram_quantile(0.9, w)"
    )
    assert set(names_in(parse(expr))) == {"x_total", "y", "z", "w"}
