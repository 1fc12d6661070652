"""Regular expressions of a mapping: how RE2 is asked, and the bounds."""

from __future__ import annotations

import pytest

from agent.mapping import regexes
from agent.mapping.regexes import RegexSet, parse
from agent.mapping.rule import RegexError


def captures(text: str, name: str) -> tuple[str, ...] | None:
    return RegexSet([parse(text)]).captures(0, name)


def test_all_that_match_are_found_in_order() -> None:
    asked = RegexSet([parse(text) for text in ("z", "b$", "^a", "a.b")])
    assert asked.matching("a.b") == [1, 2, 3]
    assert asked.matching("c") == []
    assert RegexSet([]).matching("c") == []


def test_captures() -> None:
    assert captures(r"(?P<x>a)|(b)", "cb") == ("b", "", "b")
    assert captures("(a+?)(a*)", "aaa") == ("aaa", "a", "aa")
    assert captures(r"é(.)", "xéü") == ("éü", "ü")
    assert captures("a", "b") is None


def test_groups_and_names() -> None:
    parsed = parse(r"(?P<shop>\w+)\.(.*)")
    assert (parsed.groups, parsed.names) == (2, {"shop": 1})


@pytest.mark.parametrize("text", ["(", "[[:nope:]]", "(?=a)", r"(a)\1", "a{1001}", "*"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(RegexError, match=r".+"):
        parse(text)


def test_no_name_makes_one_slow() -> None:
    """`re` would take these for longer than anyone waits."""
    name = "a" * 512
    assert captures("(a+)+$b|(a|a)*c|(.*)(.*)(.*)(.*)(.*)d", name) is None


def test_expressions_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regexes, "MAX_SET_BYTES", 20_000)
    with pytest.raises(
        RegexError, match="all expressions together are too large for RE2: at most 20000 bytes"
    ):
        RegexSet([parse(f"(a{n}|b)*c{{1,9}}x") for n in range(500)])


def test_one_expression_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regexes, "MAX_EXPRESSION_BYTES", 20_000)
    with pytest.raises(RegexError, match="too large"):
        parse("(ab|cd){1000}")
