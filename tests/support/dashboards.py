"""The dashboards of deploy/grafana, their variables and queries filled in as Grafana does it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.markdown import ROOT

FOLDER: Final = ROOT / "deploy" / "grafana" / "dashboards"
SOURCES: Final = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "meterhouse.yaml"
FILES: Final = tuple(sorted(path.name for path in FOLDER.glob("*.json")))
ALL: Final = "$__all"


@dataclass(frozen=True)
class PanelQuery:
    """One query of a panel or an annotation: its title, the uid of its data source, its expression."""

    title: str
    source: str
    expr: str
    instant: bool = False


@dataclass(frozen=True)
class Dashboard:
    """A dashboard file."""

    document: Mapping[str, Any]

    @property
    def panels(self) -> list[Any]:
        return [panel for panel in self.document["panels"] if panel["type"] != "row"]

    @property
    def variables(self) -> list[Any]:
        """The variables that people choose, without those of data sources."""
        return [v for v in self.document["templating"]["list"] if v["type"] != "datasource"]

    def source(self, owner: Mapping[str, Any]) -> str:
        """Return the uid of the data source of a panel, an annotation or a variable."""
        uid: str = owner["datasource"]["uid"]
        chosen = {
            v["name"]: v["current"]["value"]
            for v in self.document["templating"]["list"]
            if v["type"] == "datasource"
        }
        return filled(uid, chosen)

    def queries(self) -> list[PanelQuery]:
        """Return the queries of all panels."""
        return [
            PanelQuery(panel["title"], self.source(panel), target["expr"], target.get("instant", False))
            for panel in self.panels
            for target in panel["targets"]
        ]

    def annotations(self) -> list[PanelQuery]:
        """Return the queries of the annotations."""
        found = self.document.get("annotations", {"list": []})["list"]
        return [PanelQuery(note["name"], self.source(note), note["target"]["expr"]) for note in found]


def read(name: str, folder: Path = FOLDER) -> Dashboard:
    """Read the dashboard of a file."""
    return Dashboard(json.loads((folder / name).read_text()))


def scrape_intervals() -> dict[str, int]:
    """Return the interval of each provisioned data source by its uid, in seconds."""
    found = yaml.safe_load(SOURCES.read_text())["datasources"]
    return {source["uid"]: int(source["jsonData"]["timeInterval"].removesuffix("s")) for source in found}


def macros(interval_s: int, range_s: int) -> dict[str, str]:
    """Return Grafana's own variables of a panel whose points are the data source's interval apart."""
    return {
        "__interval": f"{interval_s}s",
        "__rate_interval": f"{4 * interval_s}s",
        "__range": f"{range_s}s",
    }


def filled(text: str, values: Mapping[str, str]) -> str:
    """Replace `$name` and `${name}`; raise KeyError for an unknown name, keep `$1` of label_replace."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        return found[0] if name.isdecimal() else values[name]

    return re.sub(r"\$(\w+)|\$\{(\w+)\}", value, text)


def written(variable: Mapping[str, Any], value: str) -> str:
    """Return a value as Grafana's Prometheus data source writes it into a query."""
    if value == ALL:
        return str(variable["allValue"])
    if variable["type"] == "textbox":
        return value
    if not variable.get("multi"):
        return value.replace("\\", "\\\\").replace('"', '\\"')
    return re.sub(r"[$^*{}\[\]'+?.()|]", r"\\\\\g<0>", value.replace("\\", "\\\\\\\\"))


def choices(variables: list[Any], values: Mapping[str, list[str]]) -> Iterator[dict[str, str]]:
    """Yield each value of each variable once, the others at their first: every value, not every pair."""
    first = {v["name"]: written(v, values[v["name"]][0]) for v in variables}
    yield first
    for variable in variables:
        for value in values[variable["name"]][1:]:
            yield {**first, variable["name"]: written(variable, value)}
