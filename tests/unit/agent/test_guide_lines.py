"""The lines of guides in docs/: `meterhouse check-config` explains each as its page shows.

A failure after a change that is meant: python -m tests.support.guide_examples
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.guide_examples import Example, explained, explanations, mapping_of
from tests.support.markdown import ROOT

GUIDES = sorted((ROOT / "docs").glob("migrate-*.md"))


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_lines_are_read_as_shown(page: Path) -> None:
    shown = explanations(page)
    assert len(shown) >= 2
    assert [Example(page, one.command, explained(page, one.command)) for one in shown] == shown


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_mapping_files_have_rules(page: Path) -> None:
    assert mapping_of(page).rules
