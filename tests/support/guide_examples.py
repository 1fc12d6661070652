"""Examples of guides: StatsD lines with their times, and `meterhouse query` with its output.

    python -m tests.support.guide_examples     writes the outputs into the pages

In a block `statsd` each row is a time of 2026-01-01 (UTC) and a line. A block `console` whose command is
`meterhouse query` is answered from all lines of its page, read with the settings and the mapping of its
blocks `toml` and `yaml`. One with `check-config --line` explains the line. Tests compare:
tests/integration/test_guides.py and tests/unit/agent/test_guides.py.
"""

from __future__ import annotations

import json
import re
import shlex
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from agent.aggregate.aggregator import Aggregator
from agent.cli.explain import explain, text
from agent.mapping.config_file import MappingFile, parse
from agent.settings import AgentSettings
from indexer.clickhouse.store import Store
from shim.cli.output import answer, as_csv
from shim.cli.query import _question, _request
from shim.engine.api import QueryResult
from shim.http.json_encoder import encode
from shim.model.grid import Grid
from shim.model.tenancy import Tenant
from tests.support.markdown import ROOT
from tests.support.pipeline import AT_ANY_TIME, Pipeline
from tests.support.worlds import embedded

DAY_S: Final = 1_767_225_600
_LINES: Final = re.compile(r"^```statsd\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASKED: Final = re.compile(r"^```console\n\$ meterhouse (query [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXPLAINED: Final = re.compile(
    r"^```console\n\$ meterhouse (check-config [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
_VARIABLE: Final = re.compile(r"\$__(?:rate_)?interval")
_LINE: Final = re.compile(r"--line '([^'\n]*)'")
#: The time at which explained lines arrive.
ARRIVAL_MS: Final = 1_700_000_005_000


@dataclass(frozen=True, slots=True)
class Example:
    """A command of a page, and the output that the page shows."""

    page: Path
    command: str
    shown: str


def guides() -> list[Path]:
    """Return the pages that have queries."""
    return [page for page in sorted((ROOT / "docs").rglob("*.md")) if _ASKED.search(page.read_text())]


def examples(page: Path) -> list[Example]:
    """Return the queries of a page, in order."""
    return [Example(page, command, shown) for command, shown in _ASKED.findall(page.read_text())]


def suggested(page: Path) -> list[str]:
    """Return the queries that tables below "Queries" have last; Grafana's variables are a minute."""
    _, _, rest = page.read_text().partition("Queries\n")
    cells = re.findall(r"^\|.*\| ([^|]*) \|$", rest.partition("\n## ")[0], re.MULTILINE)
    spans = [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]
    return [_VARIABLE.sub("1m", span) for span in spans if "..." not in span and "{{" not in span]


def explanations(page: Path) -> list[Example]:
    """Return the explained lines of a page, in order."""
    return [Example(page, command, shown) for command, shown in _EXPLAINED.findall(page.read_text())]


def _block(page: Path, language: str) -> str:
    """Return the only block of a language, "" for none."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return found[0] if len(found) == 1 else ""


def settings_of(page: Path) -> AgentSettings:
    """Return the agent's settings in the block `toml` of a page."""
    return msgspec.convert(tomllib.loads(_block(page, "toml")).get("agent", {}), AgentSettings)


def mapping_of(page: Path) -> MappingFile:
    """Return the mapping file in the block `yaml` of a page."""
    return parse(_block(page, "yaml") or "mappings: []")


def explained(page: Path, command: str) -> str:
    """Return the output of a `check-config --line`."""
    (line,) = _LINE.findall(command)
    settings = settings_of(page)
    mapper = mapping_of(page).mapper(settings.lines)
    return text(explain(line.encode(), settings, mapper, ARRIVAL_MS)) + "\n"


def lines(page: Path) -> Iterator[str]:
    """Yield the lines of a page with their times as `|T`."""
    for block in _LINES.findall(page.read_text()):
        for row in block.splitlines():
            clock, _, line = row.partition(" ")
            hours, minutes, seconds = map(int, clock.split(":"))
            yield f"{line.strip()}|T{DAY_S + 3600 * hours + 60 * minutes + seconds}"


def opened(pipeline: Pipeline, page: Path, org_id: int) -> None:
    """Store the lines of a page under an org of its own."""
    settings = settings_of(page)
    mapper = mapping_of(page).mapper(settings.lines)
    aggregator = Aggregator(AT_ANY_TIME, settings.lines, settings.tags, mapper)
    pipeline.send(lines(page), agent=page.name, org_id=org_id, aggregator=aggregator)


def output(pipeline: Pipeline, command: str) -> str:
    """Return the output of a command, notices last."""
    args = _question("query", "").parse_known_args(shlex.split(command)[1:])[0]
    _, asked, _ = _request(args)
    if args.range is None:
        found = pipeline.answer(asked["query"], Grid.instant(round(1000 * float(asked["time"]))))
    else:
        grid = Grid(*(round(1000 * float(asked[key])) for key in ("start", "end", "step")))
        found = pipeline.answer(asked["query"], grid, instant=False)
    return "".join(f"{text}\n" for text in _texts(found, csv="-o csv" in command))


def _texts(found: QueryResult, *, csv: bool) -> Iterator[str]:
    encoded = encode(found)
    data = {"resultType": encoded.result_type, "result": json.loads(encoded.result)}
    yield as_csv(data) if csv else answer(data, 80, draw=False, colour=False)
    yield from (f"warning: {text}" for text in found.notes.warnings)
    yield from (f"info: {text}" for text in found.notes.infos)


def pipeline_of(store: Store) -> Pipeline:
    """Return a pipeline whose clock is the end of that day."""
    return Pipeline.open(store, (DAY_S + 86_400) * 1000)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, embedded(Path(folder), "guides") as store:
        pipeline = pipeline_of(store)
        for org_id, page in enumerate(guides(), 1):
            opened(pipeline, page, org_id)
            pipeline.tenant = Tenant(org_id, 1)
            written = page.read_text()
            for one in examples(page) + explanations(page):
                query = one.command.startswith("query")
                found = output(pipeline, one.command) if query else explained(page, one.command)
                begin = f"```console\n$ meterhouse {one.command}\n"
                written = written.replace(f"{begin}{one.shown}```", f"{begin}{found}```")
            page.write_text(written)
        pipeline.close()


if __name__ == "__main__":
    main()
