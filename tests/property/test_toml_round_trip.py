"""toml.dumps writes text that tomllib reads back: any tree."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.config import toml_writer

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


_PLAIN = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | _TEXT


_TREES = st.dictionaries(
    _TEXT,
    st.recursive(_PLAIN | st.lists(_PLAIN), lambda t: st.dictionaries(_TEXT, t, max_size=4), max_leaves=20),
)


@given(_TREES)
def test_round_trip(tree: dict[str, Any]) -> None:
    assert tomllib.loads(toml_writer.dumps(tree)) == tree
