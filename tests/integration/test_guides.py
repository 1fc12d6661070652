"""Examples of the guides in docs/: each query gives the shown output from the lines of its page.

A failure after a change that is meant: python -m tests.support.guide_examples
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shim.model.tenancy import Tenant
from tests.support.guide_examples import Example, examples, guides, opened, output, pipeline_of
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
