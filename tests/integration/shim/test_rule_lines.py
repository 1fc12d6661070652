"""`meterhouse test-rules` with lines of StatsD: they mean the same as on a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from shim.rules.rule_yaml import RuleFileError
from shim.rules.unit_test_file import parse_unit_tests

RULES: Final = """
groups:
- name: shop
  rules:
  - record: route:requests:rate5m
    expr: sum by (route) (rate(requests[5m]))
  - alert: ManyErrors
    expr: sum(increase(requests{code="500"}[5m])) > 10 and on () limit == 7
    for: 2m
    annotations: {text: '{{ $value }} errors, {{ query "route:requests:rate5m" | len }}'}
  - record: copied
    expr: route:requests:rate5m{route="/cart"} * 2
"""
TESTS: Final = """
rule_files: [rules.yml]
tests:
- name: right
  interval: 1m
  input_series:
  - {statsd: "requests:{}|c|#route:/cart,code:200", values: "60x20"}
  - {statsd: "requests:{}|c|@0.5|#route:/pay,code:500", values: "0x9 2x20"}
  - {statsd: "latency:{}|d", values: "10+10x20"}
  - {statsd: "users:{}|s", values: "1+1x1 _x30"}
  - {series: limit, values: "7x30"}
  promql_expr_test:
  - {expr: "sum(increase(requests[5m]))", eval_time: 5m, exp_samples: [{value: 300}]}
  - expr: route:requests:rate5m
    eval_time: 5m
    exp_samples:
    - {labels: 'route:requests:rate5m{route="/cart"}', value: 1}
    - {labels: 'route:requests:rate5m{route="/pay"}', value: 0}
  - {expr: copied, eval_time: 5m, exp_samples: [{labels: 'copied{route="/cart"}', value: 2}]}
  - {expr: 'sum(increase(requests{code="500"}[5m]))', eval_time: 12m, exp_samples: [{value: 8}]}
  - {expr: "histogram_count(increase(latency[5m]))", eval_time: 5m, exp_samples: [{value: 5}]}
  - {expr: "sum_over_time(users[5m])", eval_time: 5m, exp_samples: [{value: 2}]}
  alert_rule_test:
  - {eval_time: 14m, alertname: ManyErrors, exp_alerts: []}
  - {eval_time: 15m, alertname: ManyErrors, exp_alerts: [{exp_annotations: {text: "20 errors, 2"}}]}
- name: other lines, and a value that is not expected
  input_series: [{statsd: "requests:{}|c", values: "1"}]
  promql_expr_test:
  - {expr: "sum(increase(requests[5m]))", eval_time: 1m, exp_samples: [{value: 2}]}
  - {expr: 'count({route="/"})', eval_time: 1m}
- name: a line that an agent refuses
  input_series: [{statsd: "requests:{}|q", values: "1"}]
"""
OUT: Final = """\
tests.yml:{0}: FAILED: other lines, and a value that is not expected
  line {1}: sum(increase(requests[5m])) at 1m
    - {{}} 2
    + {{}} 1
  line {2}: count({{route="/"}}) at 1m: a selector without a metric name: expected one beside lines of StatsD
tests.yml:{3}: FAILED: a line that an agent refuses
  'requests:1|q': the type is unknown: expected c, m, g, d, h, ms or s: expected a line of StatsD
tests.yml: 1 of 3 tests passed
"""


def test_lines_mean_the_same_as_on_a_server(tmp_path: Path) -> None:
    """In a process of its own: an engine has its data in one folder for as long as its process lives."""
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "tests.yml").write_text(TESTS)
    command = [sys.executable, "-m", "meterhouse", "test-rules", "tests.yml"]
    env = {"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": "", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    lines = [line.strip() for line in TESTS.splitlines()]
    places = [
        1 + next(number for number, line in enumerate(lines) if line.startswith(of))
        for of in (
            "- name: other",
            '- {expr: "sum(increase(requests[5m]))", eval_time: 1m',
            "- {expr: 'count",
            "- name: a line",
        )
    ]
    assert done.stdout == OUT.format(*places), done.stderr
    assert done.returncode == 1
    assert not list(tmp_path.glob("meterhouse-rules-*"))


@pytest.mark.parametrize(
    ("series", "told"),
    [
        ('{statsd: "hits:1|c", values: "1"}', "with {} for the value"),
        ('{statsd: "hits:{}|c|T5", values: "1"}', "without a time"),
        ('{statsd: "a:{}|c\\nb:{}|c", values: "1"}', "expected one line"),
        ('{statsd: "hits:{}|c", series: hits, values: "1"}', "no series beside it"),
        ('{statsd: "hits:{}|c", values: "1 stale"}', "expected numbers or _"),
        ('{statsd: "hits:{}|c", values: "1x"}', "expected a number"),
    ],
)
def test_lines_that_are_refused_have_their_place(series: str, told: str) -> None:
    with pytest.raises(RuleFileError, match=r"^t\.yml:3: ") as refused:
        parse_unit_tests("t.yml", f"tests:\n- input_series:\n  - {series}\n")
    assert told in str(refused.value)


def test_lines_are_in_the_order_of_their_times() -> None:
    text = """
tests:
- interval: 5s
  input_series:
  - {statsd: "b:{}|c", values: "1 _ 2.5"}
  - {statsd: "a:{}|g", values: "7"}
"""
    (test,) = parse_unit_tests("t.yml", text).tests
    assert [(line.at_ms, line.text) for line in test.lines] == [
        (0, "b:1|c"),
        (0, "a:7|g"),
        (10_000, "b:2.5|c"),
    ]
