"""Globs against the regular expressions they were once defined by, templates, and tags in names."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.mapping.config_file import MappingError, parse
from agent.mapping.glob import Globs, problem
from agent.mapping.mapper import Mapper, MappingOutcome
from agent.mapping.regexes import RegexSet
from agent.mapping.regexes import parse as parse_expression
from agent.mapping.rule import Rule
from agent.mapping.template import expand, for_glob, for_regex
from agent.protocol.further_samples import split_samples
from agent.protocol.line import (
    BadLine,
    Kind,
    Limits,
    Line,
    MetricKey,
    Skip,
    parse_line,
)
from agent.protocol.line_name import NameTags, name_bytes, split_name_tags

PARTS = st.sampled_from(["a", "b", "c", "a-b", "*"])
PATTERNS = st.lists(st.lists(PARTS, min_size=1, max_size=4).map(".".join), max_size=12)
NAMES = st.lists(st.sampled_from(["a", "b", "c", "a-b", "*", ""]), min_size=1, max_size=4).map(".".join)
KINDS = st.sets(st.sampled_from(Kind), min_size=1).map(frozenset)


def as_regex(pattern: str) -> re.Pattern[str]:
    """Return the regular expression that statsd_exporter made of a glob before it had a tree."""
    return re.compile("^" + re.escape(pattern).replace(r"\*", "([^.]*)") + "$")


@settings(deadline=None)
@given(PATTERNS, NAMES)
def test_globs_match_what_their_regular_expressions_match(patterns: list[str], name: str) -> None:
    globs: Globs[int] = Globs()
    for number, pattern in enumerate(patterns):
        assert problem(pattern) is None
        globs.add(pattern, number)
    found = dict(globs.find(name))
    wanted = {n: m.groups() for n, p in enumerate(patterns) if (m := as_regex(p).match(name))}
    assert found == wanted


@settings(deadline=None)
@given(PATTERNS, NAMES)
def test_globs_that_say_more_come_first(patterns: list[str], name: str) -> None:
    globs: Globs[str] = Globs()
    for pattern in patterns:
        globs.add(pattern, pattern)
    ranks = [[part == "*" for part in pattern.split(".")] for pattern, _ in globs.find(name)]
    assert all(a <= b for a, b in pairwise(ranks))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(PARTS, min_size=1, max_size=3).map(".".join), KINDS), max_size=8),
    NAMES,
    st.sampled_from(Kind),
)
def test_the_first_rule_for_the_type_holds(
    patterns: list[tuple[str, frozenset[Kind]]], name: str, kind: Kind
) -> None:
    rules = [
        Rule(number=n, line=n, match=pattern, kinds=kinds, drop=True)
        for n, (pattern, kinds) in enumerate(patterns)
    ]
    fitting = [rule.number for rule in rules if kind in rule.kinds and as_regex(rule.match).match(name)]
    found = Mapper(rules, Limits()).find(name, kind)
    assert (found[0].number if found else None) == (fitting[0] if fitting else None)


TEMPLATES = st.text(alphabet="$${}12a_-.%", max_size=12)


@settings(deadline=None)
@given(TEMPLATES)
def test_templates_of_globs(text: str) -> None:
    """As in statsd_exporter's formatter: every reference is replaced, by nothing if it refers to nothing."""

    def refer(found: re.Match[str]) -> str:
        return {"1": "<one>", "2": "<two>"}.get(found[1], "")

    expected = re.sub(r"\$\{?([a-zA-Z0-9_$]+)\}?", refer, text)
    assert expand(for_glob(text, 2), ("all", "<one>", "<two>")) == expected


@settings(deadline=None)
@given(TEMPLATES)
def test_templates_of_regular_expressions(text: str) -> None:
    """As Go's Regexp.Expand, read one character after the other."""
    out, rest = "", text
    while rest:
        if rest.startswith("$$"):
            out, rest = out + "$", rest[2:]
        elif found := re.match(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))", rest):
            out += {"1": "<one>", "2": "<two>", "a": "<one>"}.get(found[1] or found[2], "")
            rest = rest[found.end() :]
        else:
            out, rest = out + rest[0], rest[1:]
    assert expand(for_regex(text, 2, {"a": 1}), ("all", "<one>", "<two>")) == out


ATOMS = st.sampled_from(
    ["a", "b", ".", r"\.", r"\w", r"\d", r"\W", "[ab]", "[^.]", "[^a-c_]", "[[:alpha:]]", "[^[:digit:].]",
     "[]a]", "[[:^word:]]", "-", "é", r"\x61", r"\Q.-\E", "[a-cé]"]
)  # fmt: skip
REPEATS = st.sampled_from(["", "", "*", "+", "?", "*?", "+?", "??", "{1,2}", "{2}", "{0,2}?", "{2,}"])
PIECES = st.lists(st.tuples(ATOMS, REPEATS).map("".join), max_size=3).map("".join)
#: A repeated part takes at least one character: engines differ in how often nothing is repeated.
SOLID = st.tuples(ATOMS, PIECES).map("".join)
GROUPS = st.tuples(
    st.sampled_from(["(", "(?:", "(?i:"]),
    SOLID,
    st.sampled_from(["", "|a", "|b.", "|[^.]+"]),
    st.just(")"),
    REPEATS,
).map("".join)
NAMED = st.tuples(st.just("(?P<n>"), PIECES, st.sampled_from([")", "|a)", "|)"])).map("".join)
EXPRESSIONS = st.tuples(
    st.sampled_from(["", "", "^", r"\b", "(?i)", r"\A"]),
    PIECES,
    GROUPS | st.just(""),
    PIECES,
    NAMED | st.just(""),
    GROUPS | st.just(""),
    st.sampled_from(["", "", "$", r"\b", r"\z"]),
).map("".join)
SUBJECTS = st.text(alphabet="abAB.1_-é]", max_size=12)


@settings(deadline=None)
@given(st.lists(EXPRESSIONS, max_size=5), st.lists(SUBJECTS, max_size=4))
def test_all_at_once_finds_what_each_finds_alone(texts: list[str], names: list[str]) -> None:
    asked = RegexSet([parse_expression(text) for text in texts])
    for name in names:
        found = {place for place in range(len(texts)) if asked.captures(place, name) is not None}
        assert asked.matching(name) == sorted(found)


RULES = st.fixed_dictionaries(
    {"match": st.sampled_from(["a.*", "*.b", "^a", "(.*)[.](b)"])},
    optional={
        "match_type": st.sampled_from(["glob", "regex"]),
        "name": TEMPLATES,
        "labels": st.dictionaries(st.sampled_from(["x", "a_b", "ü"]), TEMPLATES),
        "action": st.sampled_from(["map", "drop"]),
        "honor_labels": st.sampled_from(["true", "false"]),
        "metric_type": st.sampled_from([kind.value for kind in Kind]),
        "gauge_deltas": st.sampled_from(["auto", "signed", "plus", "never"]),
        "scale": st.sampled_from(["0", "1", "-2.5", "1e300"]),
        "timer_unit": st.sampled_from(["ms", "s"]),
    },
)


@settings(deadline=None)
@given(st.lists(RULES, max_size=4), st.text(max_size=8), st.sampled_from(Kind))
def test_a_mapper_gives_a_usable_head_or_none(rules: list[dict[str, object]], name: str, kind: Kind) -> None:
    limits = Limits(max_name_bytes=20, max_tags=3, max_tag_bytes=20)
    try:
        mapper = parse(repr({"mappings": rules})).mapper(limits)
    except MappingError:
        return  # a glob as a regular expression, or no name
    for sent in (MetricKey(kind, name, ()), MetricKey(kind, "a.b", (("a.b", "1"), ("x", "2")), weight=4.0)):
        mapped = mapper.explain(sent)
        made = mapped.head
        assert (made is None) == (mapped.result in (MappingOutcome.DROPPED, MappingOutcome.ERROR))
        if made is not None and mapped.result is MappingOutcome.MAPPED:
            assert 0 < len(made.name.encode()) <= 20
            assert len(made.tags) <= 3
            assert list(made.tags) == sorted(dict(made.tags).items())
            assert all(value for _, value in made.tags)
            assert made.weight in (1.0, 4.0)
            assert made.delta_signs in (b"", b"+", b"+-")


STYLES = st.lists(st.sampled_from(["influx", "librato", "signalfx"]), unique=True).map(tuple)


@settings(deadline=None)
@given(st.binary(max_size=12) | st.text(alphabet="ab=,#[]", max_size=12).map(str.encode), STYLES)
def test_tags_in_names_as_a_regular_expression(name: bytes, styles: tuple[NameTags, ...]) -> None:
    head, tags, paired = split_name_tags(name, styles)
    brackets = re.fullmatch(rb"([^\[\]]*)\[([^\]]*)\](.*)", name, re.DOTALL) if "signalfx" in styles else None
    marks = b"".join({"librato": b"#", "influx": b","}.get(style, b"") for style in styles)
    if brackets:
        assert (head, tags, paired) == (brackets[1] + brackets[3], brackets[2], True)
    elif "signalfx" in styles and set(b"[]") & set(name):
        assert (head, tags, paired) == (name, b"", False)
    else:
        before, *after = re.split(b"[" + marks + b"]", name, maxsplit=1) if marks else [name]
        assert (head, tags, paired) == (before, after[0] if after else b"", True)


LINES = st.lists(
    st.sampled_from(
        [b"x", b":", b"1", b"|", b"c", b"ms", b"@0.5", b"#a:b", b"T5", b"s", b"g", b"+", b"c:id"]
    ),
    max_size=16,
).map(b"".join)


@settings(deadline=None)
@given(LINES)
def test_further_samples_are_the_line_s_own_text_and_have_none_themselves(line: bytes) -> None:
    parts = list(split_samples(line, Limits()))
    if parts:
        assert len(parts) > 1
        front, _, fields = line.partition(b"|")
        name = line[: name_bytes(front, fields) + 1]
        assert name + b":".join(part.removeprefix(name) for part in parts) == line
    for part in parts:
        assert not list(split_samples(part, Limits()))


@settings(deadline=None)
@given(LINES)
def test_a_good_line_has_no_further_samples(line: bytes) -> None:
    parsed = parse_line(line, Limits())
    assert isinstance(parsed, Line | BadLine | Skip)
    if isinstance(parsed, Line):
        assert not list(split_samples(line, Limits()))
