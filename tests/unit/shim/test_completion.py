"""Completion of shells: all commands, their options and their files."""

from __future__ import annotations

import argparse

import pytest
import shtab

import meterhouse
from shim.cli.completion import SHELLS, whole_parser


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_completed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert meterhouse.main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert all(command in said for command in meterhouse.COMMANDS)
    assert all(option in said for option in ("range", "output", "cluster", "version"))


def test_files_are_completed_as_files() -> None:
    own = argparse.ArgumentParser(prog="meterhouse completion")
    whole = whole_parser(meterhouse.COMMANDS, own)
    assert isinstance(whole.parse_args(["query", "x", "--range", "1h"]).range, float)
    said = shtab.complete(whole, "bash")
    for files in ("up___config", "up___data", "backfill_pos_0", "export_pos_1", "check_rules_pos_0"):
        assert f"_shtab_meterhouse_{files}_COMPGEN=_shtab_compgen_files" in said


def test_parsing_is_as_before() -> None:
    whole_parser(meterhouse.COMMANDS, argparse.ArgumentParser())
    with pytest.raises(SystemExit):
        meterhouse.main(["query", "--help"])
