"""Texts of templates as promtool expands them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.shim.rules.test_templates import CASES, LABELS, OTHER, VALUE

#: promtool takes the two series of `query` in the order of a Go map, which is another one in each run; they
#: are in the order of the table in most runs.
_TRIES = 25


@pytest.mark.skipif(shutil.which("promtool") is None, reason="NO PROMTOOL: apt-get install prometheus")
def test_promtool_has_the_same_texts(tmp_path: Path) -> None:
    """One alert has all cases as its annotations; promtool must find them as the table has them."""
    texts = {f"t{i:03d}": text for i, (text, _) in enumerate(CASES)}
    wanted = {f"t{i:03d}": text for i, (_, text) in enumerate(CASES)}
    rule = {"alert": "A", "expr": "x", "annotations": texts}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]}))

    def series(name: str, labels: dict[str, str], value: float) -> dict[str, str]:
        shown = ",".join(f"{k}={json.dumps(v)}" for k, v in labels.items() if k != "__name__")
        return {"series": f"{name}{{{shown}}}", "values": str(value)}

    test = {
        "external_labels": {"cluster": "c1"},
        "input_series": [
            series("x", LABELS, VALUE),
            *(series("other", dict(sample.Labels), sample.Value) for sample in OTHER),
        ],
        "alert_rule_test": [
            {
                "eval_time": "0m",
                "alertname": "A",
                "exp_alerts": [{"exp_labels": LABELS, "exp_annotations": wanted}],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [test]}))
    command = ["promtool", "test", "rules", "test.yml"]
    for _ in range(_TRIES):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode == 0:
            return
    pytest.fail(done.stdout + done.stderr)
