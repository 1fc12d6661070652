"""README.md says of every setting its name, its default and what it is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agent.config import load
from shim.command import File
from tests.support import settings_table

ROWS = list(settings_table.rows(File))


@pytest.mark.parametrize("row", ROWS, ids=[r[0] for r in ROWS])
def test_says_what_it_is(row: tuple[str, str, str]) -> None:
    name, _, text = row
    assert text, f"{name} has no comment in its settings.py"


def test_readme_has_the_table() -> None:
    assert settings_table.in_readme() == settings_table.table(), (
        "python -m tests.support.settings_table writes it"
    )


def test_example_file_is_the_defaults() -> None:
    """deploy/meterhouse.toml can be copied and changed: it is valid, and says what holds without it."""
    text = (Path(__file__).parents[2] / "deploy" / "meterhouse.toml").read_text()
    assert msgspec.to_builtins(load(File, text)) == msgspec.to_builtins(File())
    assert "[agent" in text
    assert "[indexer" in text
    assert "[shim" in text
