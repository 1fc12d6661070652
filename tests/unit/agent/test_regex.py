"""Regular expressions: RE2's syntax, its preferences, and bounds; tests/property has RE2 as the judge."""

from __future__ import annotations

import pytest

from agent import automaton, regex
from agent.automaton import Automaton, TooLargeError
from agent.regex import RegexError

#: expression, text, what is found
FOUND = [
    ("a", "bab", ("a",)),
    ("", "ab", ("",)),
    ("b*", "ab", ("",)),
    ("^b", "ab", None),
    ("b$", "ab", ("b",)),
    ("a$", "ab", None),
    (r"\Aab\z", "ab", ("ab",)),
    ("a.c", "a\nc", None),
    ("(?s)a.c", "a\nc", ("a\nc",)),
    ("^b$", "a\nb\nc", None),
    ("(?m)^b$", "a\nb\nc", ("b",)),
    (r"\bb\b", "a b", ("b",)),
    (r"\bb\b", "ab", None),
    (r"\Bb", "ab", ("b",)),
    (r"\bé", "aé", ("é",)),  # a word is ASCII
    # preferences: leftmost, then as the operators say
    ("a|ab", "ab", ("a",)),
    ("ab|a", "ab", ("ab",)),
    ("(a+)(a*)", "aaa", ("aaa", "aaa", "")),
    ("(a+?)(a*)", "aaa", ("aaa", "a", "aa")),
    ("(a??)(a*)", "aa", ("aa", "", "aa")),
    ("(?U)(a+)(a*)", "aaa", ("a", "a", "")),
    ("(?U)(a+?)(a*)", "aaa", ("aaa", "aaa", "")),
    ("a{2}", "aaa", ("aa",)),
    ("a{2,}", "aaa", ("aaa",)),
    ("a{1,2}", "aaa", ("aa",)),
    ("a{0}b", "ab", ("b",)),
    ("a{,2}", "a{,2}", ("a{,2}",)),  # no repeat, so itself
    ("a{", "a{", ("a{",)),
    ("x{1}y}", "xy}", ("xy}",)),
    # groups
    ("(a)|(b)", "b", ("b", "", "b")),
    ("(?:a)(b)", "ab", ("ab", "b")),
    ("(?P<x>a)(?<y>b)", "ab", ("ab", "a", "b")),
    ("(a|b)+", "ab", ("ab", "b")),
    ("(?i)É|b", "é", ("é",)),
    ("(?i:a)b", "Ab", ("Ab",)),
    ("(?i:a)b", "AB", None),
    ("a(?i)b|c", "C", ("C",)),
    ("(?i-s)a", "A", ("A",)),
    ("(?i)[^a]", "Ab", ("b",)),
    # classes
    ("[a-c]", "b", ("b",)),
    ("[]a]+", "]a", ("]a",)),
    ("[^]a]+", "]ab", ("b",)),
    ("[a-]+", "-a", ("-a",)),
    ("[-a]+", "-a", ("-a",)),
    (r"[\w.]+", "-a.1-", ("a.1",)),
    (r"[\W]", "a-", ("-",)),
    (r"[\]\\]+", "]\\", ("]\\",)),
    ("[[:alpha:]_]+", "1a_", ("a_",)),
    ("[[:^alpha:]]", "a1", ("1",)),
    ("[^[:space:]]+", " ab ", ("ab",)),
    ("[[:]+", "[:", ("[:",)),
    ("[[:alpha]+", "[:phx", ("[:ph",)),
    (r"\D\S\W", "1 aa", None),
    (r"\D\S\W", "ab-", ("ab-",)),
    # escapes
    (r"\.\*\-\_", ".*-_", (".*-_",)),
    (r"\x61\x{e9}\t", "aé\t", ("aé\t",)),
    (r"\Qa.b\E+", "a.bb", ("a.bb",)),
    (r"\Q\Ea", "a", ("a",)),
    (r"\Q(*", "(*", ("(*",)),
    (r"é\n", "é\n", ("é\n",)),
]


@pytest.mark.parametrize(("expression", "text", "found"), FOUND)
def test_what_is_found(expression: str, text: str, found: tuple[str, ...] | None) -> None:
    made = Automaton([regex.parse(expression)])
    assert made.captures(0, text) == found
    assert made.matching(text) == (frozenset() if found is None else {0})


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("(", "missing ) at position 2"),
        (")", "unexpected ) at position 1"),
        ("a)b", "unexpected )"),
        ("[", "unexpected end"),
        ("[]", "unexpected end"),
        ("[b-a]", "a range that ends before it begins"),
        (r"[a-\d]", "unknown escape"),
        ("[[:alfa:]]", "unknown class [:alfa:]"),
        ("*", "nothing to repeat at position 1"),
        ("a|+", "nothing to repeat"),
        ("a**", "a repeat of a repeat"),
        ("a{2}{3}", "a repeat of a repeat"),
        ("a{1001}", "a repeat is not of at most 1000 copies"),
        ("a{2,1}", "a repeat is not of"),
        ("\\", "unexpected end"),
        (r"\q", r"unknown escape \q"),
        (r"\pL", r"unknown escape \p"),
        (r"(a)\1", r"unknown escape \1"),
        (r"\x4", "unexpected end"),
        (r"\xzz", r"\x is not followed by a code point"),
        (r"\x{110000}", r"\x is not followed by a code point"),
        ("(?=a)", "unknown kind of group"),
        ("(?<!a)", "no name for a group"),
        ("(?P<>a)", "no name for a group"),
        ("(?P<a>b)(?P<a>c)", "a second time the same"),
        ("(?P<a", "no name for a group"),
        ("(?q)", "unknown kind of group"),
        ("(?i", "unknown kind of group"),
        ("(" * 102 + ")" * 102, "more than 100 deep"),
    ],
)
def test_what_is_none(expression: str, problem: str) -> None:
    with pytest.raises(RegexError) as error:
        regex.parse(expression)
    assert problem in str(error.value)


def test_no_name_and_no_expression_makes_it_take_long() -> None:
    """A backtracking matcher would need years for each of these."""
    texts = ("a" * 512, ".--.status." * 46, "aaaaaaax" * 64)
    for expression in (
        "(a+)+$", "((a*)*)*b", "(.*)a(.*)a(.*)a(.*)a(.*)a(.*)a(.*)y", "(a|aa)+$",
        r"(.*)\.(.*)--(.*)\.status\.(.*)\.count", "(?:a?){99}a{99}b",
    ):  # fmt: skip
        made = Automaton([regex.parse(expression)])
        for text in texts:
            assert (made.captures(0, text) is not None) == bool(made.matching(text))


def test_many_expressions_are_asked_at_once() -> None:
    made = Automaton([regex.parse(text) for text in ("^a", "b$", "c", "^$", "")])
    assert made.matching("ab") == {0, 1, 4}
    assert made.matching("cb") == {1, 2, 4}
    assert made.matching("") == {3, 4}
    assert Automaton([]).matching("x") == frozenset()


def test_the_memory_of_steps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound it begins anew, and finds the same."""
    monkeypatch.setattr(automaton, "MAX_STEPS", 8)
    made = Automaton([regex.parse("^(a|b)(.*)(x.y|z)$"), regex.parse(r"\bq\b")])
    for number in range(200):
        text = f"a{number}x{number % 10}y"
        assert made.matching(text) == {0}
        assert made.matching(f"{text} q") == {1}
        assert made.captures(0, text) == (text, "a", str(number), f"x{number % 10}y")
        assert made.remembered <= 8


def test_the_size_of_all_expressions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLargeError, match="more than 50000 instructions"):
        Automaton([regex.parse("((a{100}){100}){100}")])
    monkeypatch.setattr(automaton, "MAX_INSTRUCTIONS", 20)
    Automaton([regex.parse("a{16}")])
    with pytest.raises(TooLargeError):
        Automaton([regex.parse("a{10}"), regex.parse("a{10}")])
