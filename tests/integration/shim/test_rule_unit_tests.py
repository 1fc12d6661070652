"""`meterhouse test-rules`: it and promtool agree on which files pass, and differences are readable."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

import meterhouse
from shim.model.errors import BadData
from shim.model.messages import format_labels
from shim.rules.group_evaluation import External, GroupEvaluation
from shim.rules.memory_engine import MemoryEngine
from shim.rules.memory_samples import STALE, MemorySamples
from shim.rules.rule_file import parse_rule_file
from shim.rules.rule_queries import result_of
from shim.rules.series_notation import MISSING, parse_metric, parse_values
from tests.support.markdown import ROOT

KIT: Final = ROOT.parent / "shared" / "conformance" / "rules"
NEEDS_KIT: Final = pytest.mark.skipif(
    not KIT.is_dir(), reason="NO CONFORMANCE KIT: ../shared/conformance/rules is missing"
)
NEEDS_PROMTOOL: Final = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="NO PROMTOOL: apt-get install prometheus"
)
#: Files that promtool 2.42 judges differently, and why.
NOT_AS_2_42: Final = {
    "no-test-group-interval.yml": "without interval a test has evaluation_interval, as in Prometheus 3.x"
}


def passes(file: Path) -> bool:
    return meterhouse.main(["test-rules", str(file)]) == 0


def promtool_passes(file: Path) -> bool:
    command = ["promtool", "test", "rules", str(file)]
    return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0


@NEEDS_KIT
@NEEDS_PROMTOOL
def test_promtool_agrees_on_every_file_of_the_kit() -> None:
    files = sorted(f for f in KIT.iterdir() if f.suffix == ".yml")
    ours = {file.name: passes(file) for file in files}
    wanted = {file.name: promtool_passes(file) != (file.name in NOT_AS_2_42) for file in files}
    assert ours == wanted
    assert sum(ours.values()) >= 3


@NEEDS_KIT
def test_prometheus_own_tests_pass_but_for_native_histograms(tmp_path: Path) -> None:
    """Prometheus 3.x passes them; 2.42 counts windows that are closed on both ends."""
    document = yaml.safe_load((KIT / "unittest.yml").read_text())
    dropped = 0
    for test in document["tests"]:
        series = [s for s in test.get("input_series", ()) if "{{" not in str(s["values"])]
        cases = [
            case
            for case in test.get("promql_expr_test", ())
            if not any("histogram" in sample for sample in case["exp_samples"])
        ]
        dropped += len(test.get("promql_expr_test", ())) - len(cases)
        test["input_series"], test["promql_expr_test"] = series, cases
    assert dropped == 3
    (tmp_path / "rules.yml").write_text((KIT / "rules.yml").read_text())
    (tmp_path / "unittest.yml").write_text(yaml.safe_dump(document))
    assert passes(tmp_path / "unittest.yml")


RULES: Final = """
groups:
  - name: first
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
        labels: {by: job}
      - record: job:up:twice
        expr: job:up:sum * 2
      - alert: Down
        expr: up == 0
        for: 2m
        keep_firing_for: 3m
        labels:
          severity: '{{ if eq $labels.job "api" }}page{{ else }}mail{{ end }}'
        annotations:
          summary: '{{ $labels.instance }} {{ $value }} of {{ query "sum(job:up:sum)" | first | value }}'
          empty: '{{ $labels.none }}'
  - name: second
    rules:
      - alert: Few
        expr: job:up:sum < 2
      - alert: Absent
        expr: absent(gone)
      - record: alerts
        expr: count by (alertname, alertstate) (ALERTS)
      - record: since
        expr: ALERTS_FOR_STATE
"""
#: Sums of two jobs are equal at times: an order among them would be that of a Go map in promtool.
SERIES: Final = {
    'up{job="api",instance="a"}': "1x3 0x5 1x10",
    'up{job="api",instance="b"}': "1x5 stale 1x10",
    'up{job="web",instance="c"}': "0x2 1 0x3 _x4 1x6",
    "gone": "1x4 stale _x5 1+0.5x4",
}
EXPRESSIONS: Final = (
    "job:up:sum", "job:up:twice", "alerts", "ALERTS", "ALERTS_FOR_STATE", "since", "timestamp(gone)",
    "count_over_time(up[90s])", "rate(gone[150s])", "up offset 1m", "max_over_time(job:up:sum[4m:])",
    "gone @ 60", "sum_over_time(up[94s:30s])", "topk(2, job:up:sum)", "1 + 1", "vector(3)",
    'label_replace(up, "x", "$1", "instance", "(.)")',
)  # fmt: skip


@NEEDS_PROMTOOL
def test_promtool_agrees_at_every_minute(tmp_path: Path) -> None:
    """Our results are the expectations of a file, which promtool then judges."""
    found = _results()
    assert sum(len(case["exp_alerts"]) for case in found["alert_rule_test"]) > 30
    (tmp_path / "rules.yml").write_text(RULES)
    order = ["first", "second"]  # without it promtool's order of groups is that of a Go map
    document = {"rule_files": ["rules.yml"], "group_eval_order": order, "tests": [found]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(document))
    assert passes(tmp_path / "test.yml")
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def _results() -> Mapping[str, Any]:
    """Return a test whose expectations are our own results."""
    alerts, expressions = [], []
    samples = MemorySamples()
    with ThreadPoolExecutor(1) as pool:
        engine = MemoryEngine(samples, 60_000, pool)
        groups = [GroupEvaluation(g, External()) for g in parse_rule_file("r.yml", RULES)]
        for minute in range(18):
            for text, values in SERIES.items():
                value = dict(enumerate(parse_values(values))).get(minute, MISSING)
                if not isinstance(value, str):
                    samples.append(parse_metric(text), minute * 60_000, value)
            for g in groups:
                assert result_of(g.evaluate(minute * 60_000, engine, samples)) == []
            states = [s for g in groups for s in g.states if s is not None]
            alerts += [
                {
                    "eval_time": f"{minute}m",
                    "alertname": s.rule.name,
                    "exp_alerts": [
                        {
                            "exp_labels": dict(a.labels),
                            "exp_annotations": dict(a.annotations),
                        }
                        for a in s.firing()
                    ],
                }
                for s in states
            ]
        for expr in EXPRESSIONS:
            for second in range(0, 1000, 49):  # no window ends on a sample: 2.42 counts both ends
                vector = engine.query_text(expr, second * 1000 + 500)
                wanted = [{"labels": format_labels(labels), "value": value} for labels, value in vector]
                expressions.append({"expr": expr, "eval_time": f"{second}s500ms", "exp_samples": wanted})
    series = [{"series": text, "values": values} for text, values in SERIES.items()]
    return {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": alerts,
        "promql_expr_test": expressions,
    }


def test_differences_show_what_is_missing_and_what_is_not_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "test.yml"
    file.write_text(
        "tests:\n- name: sums\n  input_series:\n"
        "  - {series: 'x{a=\"1\"}', values: '1 2'}\n  - {series: 'x{a=\"2\"}', values: '3'}\n"
        "  promql_expr_test:\n  - expr: x\n    eval_time: 1m\n    exp_samples:\n"
        "    - {labels: 'x{a=\"1\"}', value: 1}\n    - {labels: 'x{a=\"2\"}', value: 3}\n"
    )
    assert not passes(file)
    assert capsys.readouterr().out.replace(str(file), "F").splitlines() == [
        "F:2: FAILED: sums",
        "  line 7: x at 1m",
        '    - {__name__="x", a="1"} 1',
        '    + {__name__="x", a="1"} 2',
        "      (1 as expected)",
        "F: 0 of 1 tests passed",
    ]


def test_a_limit_of_series_fails_the_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rules.yml").write_text(
        "groups:\n- name: g\n  limit: 1\n  rules:\n  - {record: y, expr: x}\n  - {alert: A, expr: x}\n"
    )
    (tmp_path / "test.yml").write_text(
        "rule_files: [rules.yml]\ntests:\n- input_series:\n  - {series: 'x{a=\"1\"}', values: 1}\n"
        "  - {series: 'x{a=\"2\"}', values: 1}\n"
    )
    assert not passes(tmp_path / "test.yml")
    printed = capsys.readouterr().out
    assert 'group "g", rule y at 0s: exceeded limit of 1 with 2 series' in printed
    assert 'group "g", rule A at 0s: exceeded limit of 1 with 2 alerts' in printed


def test_endless_tests_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test.yml").write_text(
        "evaluation_interval: 1ms\ntests:\n- promql_expr_test:\n  - {expr: x, eval_time: 100y}\n"
    )
    assert not passes(tmp_path / "test.yml")
    assert "test.yml:3: evaluation_interval = 1ms: at most 10000000 intervals" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1 2.5 -3e2", [1.0, 2.5, -300.0]),
        ("1+2x3", [1.0, 3.0, 5.0, 7.0]),
        ("5-1x2 _ _x2 stale", [5.0, 4.0, 3.0, MISSING, MISSING, MISSING, STALE]),
        ("0x3", [0.0, 0.0, 0.0, 0.0]),
        ("Inf -Inf", [math.inf, -math.inf]),
        ("", []),
    ],
)
def test_notation_of_values(text: str, values: list[Any]) -> None:
    assert parse_values(text) == values


@pytest.mark.parametrize("text", ["1+2", "a", "1x", "1x99999999999", "_x9999999", "{{schema:1}}", "1,2"])
def test_wrong_values_are_refused(text: str) -> None:
    with pytest.raises(BadData):
        parse_values(text)


@pytest.mark.parametrize("text", ['x{a=~"b"}', "x[5m]", "x{", "{"])
def test_wrong_series_are_refused(text: str) -> None:
    with pytest.raises(BadData):
        parse_metric(text)
