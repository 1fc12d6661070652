"""Which regular expressions stand for a list of strings."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.model.errors import BadData
from shim.model.finite_regex import MAX_STRINGS, finite_strings
from shim.model.matchers import compile_regex


@pytest.mark.parametrize(
    ("pattern", "strings"),
    [
        ("", [""]), ("0.3", ["0.3"]), ("0\\.1|0\\.3|\\+Inf", ["0.1", "0.3", "+Inf"]),
        ("1(\\.0)?", ["1.0", "1"]),
        ("(?:1|2)(a|b)?", ["1a", "1b", "1", "2a", "2b", "2"]), ("[0-2]\\.5", ["0.5", "1.5", "2.5"]),
        ("1{3}", ["111"]), ("a{0,2}?", ["", "a", "aa"]), ("^5$", ["5"]), ("[]a-]", ["]", "a", "-"]),
        ("a||b", ["a", "", "b"]), ("x{2}y", ["xxy"]),
    ],
)  # fmt: skip
def test_lists_of_strings(pattern: str, strings: list[str]) -> None:
    assert list(finite_strings(pattern) or ()) == strings


@pytest.mark.parametrize(
    "pattern",
    ["a*", "a+", ".*", "a{2,}", "(?i)a", "(?P<n>a)", "[^a]", "[[:alpha:]]", "\\w", "a\\b", "(", ")", "[",
     "[a", "a)", "{1}", "?", "a??b*", "(a?){30}", "[ab]{40}", "a{99999}", "a^b", "a$b",
     "(" * 200 + "a" + ")" * 200],
)  # fmt: skip
def test_what_is_not_such_a_list(pattern: str) -> None:
    assert finite_strings(pattern) is None


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
