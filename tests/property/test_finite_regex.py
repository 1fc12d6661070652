"""Strings of a finite expression all match it."""

from __future__ import annotations

import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.model.errors import BadData
from shim.model.finite_regex import MAX_STRINGS, finite_strings
from shim.model.matchers import compile_regex


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="01.|()[]?*+{},\\-d^$aI:", max_size=14))
def test_every_string_matches(pattern: str) -> None:
    found = finite_strings(pattern)
    if found is None:
        return
    assert len(found) <= MAX_STRINGS
    try:
        regex = compile_regex(pattern)
    except (BadData, re2.error):
        return
    for text in found:
        assert regex.search(text) is not None, text
