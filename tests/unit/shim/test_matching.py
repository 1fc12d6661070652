"""Regular expressions of matchers: long lists of alternatives match as RE2 says, without RE2."""

from __future__ import annotations

import re2
from hypothesis import given
from hypothesis import strategies as st

from shim.matching import alternatives, compile_regex

PIECES = st.lists(
    st.sampled_from(
        ["a", "b", "é", "\n", " ", "|", "\\.", "\\|", "\\-", "\\_", "\\d", ".", "(", ")", "*", "-", "$"]
    ),
    max_size=12,
).map("".join)


def test_lists_of_alternatives() -> None:
    assert alternatives("a|b") == frozenset("ab")
    assert alternatives(r"host-1\.example|b c") == frozenset(("host-1.example", "b c"))
    assert alternatives("a||b") == frozenset(("a", "", "b"))
    for other in ("a.", "a|b*", "(a)", "a|[b]", r"\d", r"a\|b", "a$", "^a", "a\\", "x{2}"):
        assert alternatives(other) is None


@given(pattern=PIECES, text=PIECES)
def test_alternatives_match_as_re2(pattern: str, text: str) -> None:
    values = alternatives(pattern)
    if values is None:
        return
    options = re2.Options()
    options.log_errors = False
    whole = re2.compile(f"^(?s:{pattern})$", options)
    for one in {text, *values}:
        assert (one in values) == (whole.search(one) is not None)


def test_long_lists_are_searched_as_short_ones() -> None:
    pattern = "|".join(f"v{i:04}" for i in range(400))
    compiled = compile_regex(pattern)
    assert [compiled.search(one) is not None for one in ("v0000", "v0399", "v0400", "", "v000")] == [
        True,
        True,
        False,
        False,
        False,
    ]
