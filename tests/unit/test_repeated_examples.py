"""Examples of Hypothesis do not depend on the modules that are loaded."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def drawn() -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []

    @settings(max_examples=300, database=None)
    @given(st.tuples(st.integers(), st.text(max_size=9)))
    def test(example: tuple[int, str]) -> None:
        found.append(example)

    test()
    return found


def test_a_further_module_changes_no_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = drawn()
    numbers, texts = [7_000_003 + 11 * i for i in range(60)], [f"c{i}" for i in range(60)]
    name = "a_module_with_many_constants"
    (tmp_path / f"{name}.py").write_text(f"NUMBERS = {numbers}\nTEXTS = {texts}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        importlib.import_module(name)
        assert drawn() == before
    finally:
        sys.modules.pop(name, None)
