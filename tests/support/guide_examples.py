"""Examples of guides: StatsD lines with their times, and `meterhouse query` with its output.

    python -m tests.support.guide_examples     writes the outputs into the pages

In a block `statsd` each row is a time of 2026-01-01 (UTC) and a line. A block `console` whose command is
`meterhouse query` is answered from all lines of its page. tests/integration/test_guides.py compares.
"""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shim.cli.output import answer, as_csv
from shim.cli.query import _question, _request
from shim.engine.api import QueryResult
from shim.http.json_encoder import encode
from shim.model.grid import Grid
from tests.support.markdown import ROOT
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

DAY_S: Final = 1_767_225_600
_LINES: Final = re.compile(r"^```statsd\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASKED: Final = re.compile(r"^```console\n\$ meterhouse (query [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STEP_S: Final = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Example:
    """A command of a page, and the output that the page shows."""

    page: Path
    command: str
    shown: str


def guides() -> list[Path]:
    """Return the pages that have such examples."""
    return [page for page in sorted((ROOT / "docs").rglob("*.md")) if _ASKED.search(page.read_text())]


def examples(page: Path) -> list[Example]:
    """Return the queries of a page, in order."""
    return [Example(page, command, shown) for command, shown in _ASKED.findall(page.read_text())]


def lines(page: Path) -> Iterator[str]:
    """Yield the lines of a page with their times as `|T`."""
    for block in _LINES.findall(page.read_text()):
        for row in block.splitlines():
            clock, _, line = row.partition(" ")
            hours, minutes, seconds = map(int, clock.split(":"))
            yield f"{line.strip()}|T{DAY_S + 3600 * hours + 60 * minutes + seconds}"


def opened(pipeline: Pipeline, page: Path, org_id: int) -> None:
    """Store the lines of a page under an org of its own."""
    pipeline.send(lines(page), agent=page.name, org_id=org_id)


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


def pipeline_of(store: object) -> Pipeline:
    """Return a pipeline whose clock is the end of that day."""
    return Pipeline.open(store, (DAY_S + 86_400) * 1000)  # type: ignore[arg-type]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, embedded(Path(folder), "guides") as store:
        pipeline = pipeline_of(store)
        for org_id, page in enumerate(guides(), 1):
            opened(pipeline, page, org_id)
            text = page.read_text()
            pipeline.tenant = type(pipeline.tenant)(org_id, 1)
            for example in examples(page):
                block = f"```console\n$ meterhouse {example.command}\n"
                text = text.replace(
                    f"{block}{example.shown}```", f"{block}{output(pipeline, example.command)}```"
                )
            page.write_text(text)
        pipeline.close()


if __name__ == "__main__":
    main()
