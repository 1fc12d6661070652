"""Regular expressions of matchers: long lists of alternatives match as RE2 says, without RE2."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from shim.model import matchers
from shim.model.errors import BadData
from shim.model.matchers import Matcher, Pattern, alternatives, compile_regex

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


WILD = st.sampled_from(["", "", ".*", ".+", ".", "+"])
PARTS = st.lists(st.sampled_from(["a", "b", "\n", "é", "-", "\\.", "\\+"]), max_size=3).map("".join)


@given(before=WILD, literal=PARTS, after=WILD, text=st.text(st.sampled_from("ab\né-.+"), max_size=6))
def test_literals_with_anything_around_match_as_re2(before: str, literal: str, after: str, text: str) -> None:
    pattern = before + literal + after
    try:
        want = compile_regex(pattern).search(text) is not None
    except BadData:
        return
    assert Matcher("x", "=~", pattern).matches(text) is want
    assert Matcher("x", "!~", pattern).matches(text) is not want


def test_simple_patterns_take_no_re2(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pattern: str) -> Pattern:
        raise AssertionError(pattern)

    monkeypatch.setattr(matchers, "compile_regex", refused)
    for pattern, text, met in (
        ("api-.*", "api-", True),
        ("api-.+", "api-", False),
        (".*error", "an error", True),
        (".+error.+", "errors", False),
        (".+error.+", "2 errors", True),
        (".*", "", True),
        (".+", "", False),
        (r"a\.b.*", "a.bc", True),
        (r"a\.b.*", "axbc", False),
    ):
        assert Matcher("x", "=~", pattern).matches(text) is met
    with pytest.raises(AssertionError):
        Matcher("x", "=~", "a.b").matches("a.b")


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
