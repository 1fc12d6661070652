"""toml.dumps writes text that tomllib reads back."""

from __future__ import annotations

from typing import Any

import pytest

from agent.config import toml_writer


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"agent": {"udp": "127.0.0.1:8125", "none": None}}, '[agent]\nudp = "127.0.0.1:8125"\n'),
        ({"a": {"b": {"c": 1}, "d": True}}, "[a]\nd = true\n\n[a.b]\nc = 1\n"),
        ({"a": [{"b": 1.5}]}, "a = [{ b = 1.5 }]\n"),
    ],
)
def test_text(tree: dict[str, Any], text: str) -> None:
    assert toml_writer.dumps(tree) == text
