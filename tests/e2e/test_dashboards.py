"""Each panel of each dashboard has data, of a running `up` and a Prometheus that scrapes it; alerts load."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from agent.cli.demo_traffic import Shop
from shim.cli.test_rules import test_rules as run_rule_tests
from tests.e2e.product import Starter, Up, get, wait_for
from tests.support.dashboards import (
    ALL,
    FILES,
    Dashboard,
    PanelQuery,
    choices,
    filled,
    macros,
    read,
    scrape_intervals,
)
from tests.support.own_metrics import OWN_SOURCE, RULE_TESTS, RULES
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e


RANGE_S: Final = 600
#: The demo's data: one whole wave of five minutes, in which the checkout is slow once.
DEMO_S: Final = 360
#: Its variable `instance` chooses one process, which has the metrics of its own part alone.
ONE_PART: Final = "meterhouse-itself.json"


@dataclass(frozen=True)
class Source:
    """A data source: its API, the end of its data (None: now), the least interval."""

    url: str
    end: int | None
    interval_s: int

    def ask(self, path: str, **params: str | float) -> Any:
        """Return the data of an answer; fail with the text of a refusal."""
        status, body = get(f"{self.url}/{path}?{urllib.parse.urlencode(params)}")
        assert status == 200, f"{status} {body.decode()}: {params}"
        return json.loads(body)["data"]

    def series(self, query: PanelQuery, values: Mapping[str, str]) -> list[Any] | None:
        """Return the series that Grafana draws, None if there are none."""
        expr = filled(query.expr, {**values, **macros(self.interval_s, RANGE_S)})
        end = self.end or time.time()
        if query.instant:
            found = self.ask("query", query=expr, time=end)["result"]
        else:
            found = self.ask("query_range", query=expr, start=end - RANGE_S, end=end, step=self.interval_s)[
                "result"
            ]
        # Of our own metrics NaN is an answer: the quantile of a histogram without events.
        return [one for one in found if self.end is None or _has_number(one)] or None

    def values(self, variable: Mapping[str, Any]) -> list[str]:
        """Return the values that Grafana offers for a variable, All at first."""
        if variable["type"] == "textbox":
            return [variable["query"]]
        asked = re.fullmatch(r"label_names\(\)|label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert asked, variable["name"]
        if asked[2]:
            found = self.ask(f"label/{asked[2]}/values", **{"match[]": asked[1]})
        else:
            found = self.ask("labels")
        pattern = variable["regex"].strip("/") if variable.get("regex") else ""
        found = [value for value in found if re.search(pattern, value)]
        assert found, variable["name"]
        return [ALL, *found] if variable.get("includeAll") else found


def _has_number(series: Any) -> bool:
    points = series.get("values") or [series.get("value", (0, "NaN"))]
    return "histograms" in series or "histogram" in series or any(value != "NaN" for _, value in points)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Source]]:
    """Provide `up` with the demo's data, and a Prometheus that scrapes it each second, by their uids."""
    program = shutil.which("prometheus")
    assert program is not None, "prometheus is not installed"
    folder = tmp_path_factory.mktemp("own")
    starter = Starter(folder)
    intervals = scrape_intervals()
    try:
        up = starter.up()
        end = _shop(up)
        port = _configured(up, folder)
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
                own = f"http://127.0.0.1:{port}/api/v1"
                _scraped(own)
                yield {
                    "meterhouse": Source(f"{up.api.url}/api/v1", end, intervals["meterhouse"]),
                    OWN_SOURCE: Source(own, None, intervals[OWN_SOURCE]),
                }
            finally:
                child.kill()
    finally:
        starter.clear()


def _shop(up: Up) -> int:
    """Send the demo's lines of the last minutes; return when they and the agent's `up` are stored."""
    end = int(time.time()) // 10 * 10
    shop = Shop(seed=5, requests_per_second=20.0)
    up.send(line for i in range(DEMO_S * 10) for line in shop.tick(end - DEMO_S + i / 10))
    total = sum(counter.total for counter in shop.truth().counters)
    up.api.wait_until(f"sum(increase(shop_requests[{DEMO_S}s]))", end, total)
    wait_for(lambda: up.api.instant("up", time.time()) or None, "the agent's up", 180)
    return int(time.time()) + 1


def _scraped(url: str) -> None:
    """Return when Prometheus has scraped all parts twice."""

    def twice() -> bool:
        asked = {"query": 'count(count_over_time(up{job=~"meterhouse-.*"}[1m]) > 1) == 3'}
        status, body = get(f"{url}/query?{urllib.parse.urlencode(asked)}")
        return status == 200 and bool(json.loads(body)["data"]["result"])

    wait_for(twice, "two scrapes of each part", 180)


def _configured(up: Up, folder: Path) -> int:
    """Write the configuration of a Prometheus that scrapes `up`; return the port for it."""
    up.send(["a:bad|c"])
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


@pytest.mark.parametrize("file", FILES)
def test_every_panel_has_data_with_every_value(sources: dict[str, Source], file: str) -> None:
    dashboard = read(file)
    variables = dashboard.variables
    offered = {v["name"]: _values(dashboard, sources, v) for v in variables}
    asked: set[tuple[str, str]] = set()
    for number, values in enumerate(choices(variables, offered)):
        for query in dashboard.queries():
            key = (query.title, filled(query.expr, {**values, **macros(10, RANGE_S)}))
            if key in asked:
                continue
            asked.add(key)
            ask = partial(sources[query.source].series, query, values)
            if file == ONE_PART and number:
                ask()  # refused queries fail
            else:
                wait_for(ask, f"{query.title}: {query.expr} of {values}", 240)


def _values(dashboard: Dashboard, sources: Mapping[str, Source], variable: Mapping[str, Any]) -> list[str]:
    source = dashboard.source(variable) if "datasource" in variable else "meterhouse"
    return sources[source].values(variable)


def test_annotations_are_found(sources: dict[str, Source]) -> None:
    """Each is a valid query, and one marks the slow checkout."""
    notes = [note for file in FILES for note in read(file).annotations()]
    found = {note.title: sources[note.source].series(note, {}) for note in notes}
    assert found["Slow checkout"]


def test_the_alerts_load_and_evaluate(sources: dict[str, Source]) -> None:
    def rules() -> list[Any] | None:
        groups = sources[OWN_SOURCE].ask("rules")["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if found and all(rule["health"] == "ok" for rule in found) else None

    found = wait_for(rules, "healthy rules", 180)
    assert len(found) == 31
    assert all(rule["state"] != "firing" for rule in found if rule["labels"]["severity"] == "critical")


@pytest.mark.parametrize("command", [("check", "rules", str(RULES)), ("test", "rules", str(RULE_TESTS))])
def test_promtool_accepts_them(command: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *command], capture_output=True, text=True, cwd=Path(RULES).parent)
    assert done.returncode == 0, done.stdout + done.stderr


def test_our_own_judge_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_rule_tests([str(RULE_TESTS)]) == 0
    assert "5 of 5 tests passed" in capsys.readouterr().out
