"""Examples of the guides in docs/: each query gives the shown output from the lines of its page.

A failure after a change that is meant: python -m tests.support.guide_examples
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.aggregate.aggregator import Aggregator
from agent.backfill.csv_records import CsvConverter
from agent.backfill.samples import Sample
from agent.protocol.line import Limits
from shim.model.tenancy import Tenant
from tests.support.guide_examples import Example, examples, guides, opened, output, pipeline_of, suggested
from tests.support.markdown import ROOT
from tests.support.pipeline import Pipeline
from tests.support.worlds import embedded

PAGES = guides()


@pytest.fixture(scope="module")
def pipeline(chdb_path: Path) -> Iterator[Pipeline]:
    """Provide the lines of each page under an org of its own."""
    with embedded(chdb_path, "guides") as store:
        opened_pipeline = pipeline_of(store)
        for org_id, page in enumerate(PAGES, 1):
            opened(opened_pipeline, page, org_id)
        yield opened_pipeline
        opened_pipeline.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_outputs_are_true(pipeline: Pipeline, page: Path) -> None:
    pipeline.tenant = Tenant(PAGES.index(page) + 1, 1)
    shown = examples(page)
    assert shown
    assert [Example(page, one.command, output(pipeline, one.command)) for one in shown] == shown


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem.startswith("migrate-")], ids=lambda page: page.stem
)
def test_suggested_queries_are_accepted(pipeline: Pipeline, page: Path) -> None:
    pipeline.tenant = Tenant(PAGES.index(page) + 1, 1)
    queries = suggested(page)
    assert len(queries) >= 10
    for query in queries:
        assert output(pipeline, shlex.join(["query", query, "--time", "2026-01-01T12:01:00Z"]))


def test_fetched_values_of_graphite_become_records(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "migrate-graphite.md").read_text()
    ((command, shown),) = re.findall(
        r"^```console\n\$ (awk [^\n]*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    (fetched,) = re.findall(r"^```text\n(17.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "fetched.txt").write_text(fetched)
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=180, check=True
    )
    assert done.stdout == shown
    converter, aggregator = CsvConverter(Limits()), Aggregator()
    taken = [one for line in shown.encode().splitlines() for one in converter.convert(line, aggregator)]
    assert [type(one) for one in taken] == [Sample, Sample]
