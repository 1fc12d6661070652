"""Debian's Prometheus scrapes a running `up`: each panel of "Meterhouse itself" has data, alerts load."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shim.cli.test_rules import test_rules as run_rule_tests
from tests.e2e.product import Starter, Up, get, wait_for
from tests.support.own_dashboard import RULE_TESTS, RULES, queries
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Provide the URL of a Prometheus that scrapes `up` each second."""
    program = shutil.which("prometheus")
    assert program is not None, "prometheus is not installed"
    folder = tmp_path_factory.mktemp("own")
    starter = Starter(folder)
    try:
        port = _configured(starter.up(), folder)
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(
                [
                    program,
                    f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/tsdb",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            ) as child,
        ):
            try:
                yield f"http://127.0.0.1:{port}/api/v1"
            finally:
                child.kill()
    finally:
        starter.clear()


def _configured(up: Up, folder: Path) -> int:
    """Write the configuration of a Prometheus that scrapes `up`; return the port for it."""
    up.send(["a:1|c", "a:bad|c"])
    get(f"{up.api.url}/api/v1/query?query=a")
    jobs = {"agent": up.agent, "indexer": up.indexer, "shim": up.api.url}
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": f"meterhouse-{name}", "static_configs": [{"targets": [url.split("//")[1]]}]}
            for name, url in jobs.items()
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    return free_port()


def ask(url: str, **params: str) -> Any:
    status, body = get(f"{url}?{urllib.parse.urlencode(params)}")
    return json.loads(body)["data"] if status == 200 else None


def series(url: str, expr: str) -> Any:
    """Return the series of an expression, None if there are none."""
    found = ask(f"{url}/query", query=expr)
    return found["result"] if found and found["result"] else None


def test_every_panel_has_data(prometheus: str) -> None:
    for title, exprs in queries("30s").items():
        for expr in exprs:
            wait_for(partial(series, prometheus, expr), f"{title}: {expr}", 60.0)


def test_the_alerts_load_and_evaluate(prometheus: str) -> None:
    def rules() -> list[Any] | None:
        groups = (ask(f"{prometheus}/rules") or {"groups": []})["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if found and all(rule["health"] == "ok" for rule in found) else None

    found = wait_for(rules, "healthy rules", 60.0)
    assert len(found) == 31
    assert all(rule["state"] != "firing" for rule in found if rule["labels"]["severity"] == "critical")


@pytest.mark.parametrize("command", [("check", "rules", str(RULES)), ("test", "rules", str(RULE_TESTS))])
def test_promtool_accepts_them(command: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *command], capture_output=True, text=True, cwd=Path(RULES).parent)
    assert done.returncode == 0, done.stdout + done.stderr


def test_our_own_judge_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_rule_tests([str(RULE_TESTS)]) == 0
    assert "5 of 5 tests passed" in capsys.readouterr().out
