"""Generated documents agree with the code: every setting, every metric of ours, the help of every command."""

from __future__ import annotations

import msgspec
import pytest

from agent.config.load import load
from shim.cli.serve import File
from tests.support import cli_help, metrics_table, settings_table
from tests.support.markdown import ROOT, between

SETTINGS = list(settings_table.rows())
METRICS = list(metrics_table.rows())


@pytest.mark.parametrize("row", SETTINGS, ids=[r[0] for r in SETTINGS])
def test_setting_says_what_it_is(row: settings_table.Row) -> None:
    assert row[-1], f"{row[0]} has no comment in its settings.py"


def test_document_has_the_settings() -> None:
    there = between(settings_table.FILE, settings_table.MARK)
    assert there == settings_table.settings(), f"python -m {settings_table.MARK} writes it"


def test_metrics_say_what_they_are() -> None:
    names = [name for name, *_ in METRICS]
    assert len(names) == len(set(names))
    for part in ("agent", "indexer", "shim"):
        assert any(name.startswith(f"meterhouse_{part}_") for name in names)
    assert all(name.startswith("meterhouse_") and text for name, _, _, text in METRICS)


def test_document_has_the_metrics() -> None:
    there = between(metrics_table.FILE, metrics_table.MARK)
    assert there == metrics_table.tables(), f"python -m {metrics_table.MARK} writes it"


def test_document_has_the_commands() -> None:
    there = between(cli_help.FILE, cli_help.MARK)
    assert there == cli_help.sections(), f"python -m {cli_help.MARK} writes it"


def test_example_file_is_the_defaults() -> None:
    """deploy/meterhouse.toml can be copied and changed: it is valid, and states the defaults."""
    text = (ROOT / "deploy" / "meterhouse.toml").read_text()
    assert msgspec.to_builtins(load(File, text)) == msgspec.to_builtins(File())
    assert all(f"[{part}" in text for part in ("agent", "indexer", "shim"))
