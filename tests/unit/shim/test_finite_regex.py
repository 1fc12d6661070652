"""Which regular expressions stand for a list of strings."""

from __future__ import annotations

import pytest

from shim.model.finite_regex import finite_strings


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
