"""Our trees and those of promql-parser: equal wherever it can parse a query."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from typing import Final

import pytest

from shim.model.errors import BadData
from tests.support.differential.generate import generator
from tests.support.markdown import ROOT
from tests.support.promql import OUR_FILES, PROMETHEUS_FILES, evaluated, tokens
from tests.support.promql_oracle import oracle_tree, our_tree

EXPRESSIONS: Final = ROOT.parent / "shared" / "conformance" / "expressions.json"
#: The oracle takes each byte for a character, and loses the sign of a time before 1970.
_MISREAD: Final = re.compile(r"\\x[89a-fA-F]|\\[23][0-7]{2}|@\s*-")
#: Prometheus refuses these, the oracle does not: alternatives of matchers, a plus before a string, two names.
_UNCHECKED: Final = re.compile(
    r'unexpected identifier "or" in label matching|unary expression only allowed|timestamp out of bounds'
    r"|metric name must not be set twice|expected label selectors only"
)
#: The oracle refuses these, Prometheus does not: backslashes in backquotes, underscores in numbers, info()
#: with matchers that may all be empty, a colon or a reserved word as a label, plus before a duration, `0e1`.
_UNKNOWN: Final = re.compile(
    r"`[^`]*\\|\d_\d|\b0x[0-9a-f]*_|\binfo\b|:\s*[,)]|\bor\s*(?:=[^=]|!)|[\[:]\s*\+|\b0[0-9]*e|\b(?:smoothed|anchored)\b",
    re.IGNORECASE,
)


def differing(texts: Iterable[str]) -> tuple[int, list[str]]:
    """Compare trees; return how many are equal, and the queries that are understood differently."""
    equal, different = 0, []
    for text in texts:
        wanted = oracle_tree(text)
        try:
            given = our_tree(text)
        except BadData as e:
            if wanted is not None and not _UNCHECKED.search(str(e)):
                different.append(f"{text} -> {e}")
            continue
        if wanted is None:
            if not _UNKNOWN.search(text):
                different.append(f"{text} -> the oracle refuses it")
        elif not _MISREAD.search(text):
            if json.dumps(wanted, sort_keys=True) == json.dumps(given, sort_keys=True):  # NaN is not NaN
                equal += 1
            else:
                different.append(text)
    return equal, different


@pytest.mark.skipif(not EXPRESSIONS.is_file(), reason="no shared conformance kit beside the repository")
def test_rules_and_dashboards() -> None:
    texts = json.loads(EXPRESSIONS.read_text())["expressions"]
    assert differing(texts) == (len(texts), [])


@pytest.mark.skipif(not PROMETHEUS_FILES.is_dir(), reason="no shared conformance kit beside the repository")
def test_expressions_of_prometheus_test_files() -> None:
    equal, different = differing(dict.fromkeys(evaluated(PROMETHEUS_FILES)))
    assert not different
    assert equal > 700


def test_expressions_of_our_test_files() -> None:
    equal, different = differing(dict.fromkeys(evaluated(OUR_FILES)))
    assert not different
    assert equal > 400


def test_random_queries() -> None:
    drawn = (generator(f"oracle/{i}") for i in range(600))
    equal, different = differing(one.query(one.rng.choice((1, 2, 3, 4))).text for one in drawn)
    assert not different
    assert equal > 500


def test_queries_with_changed_tokens() -> None:
    """One to three tokens are changed; where only one of the two refuses, the other is wrong."""
    equal, different = differing(changed(f"broken/{i}") for i in range(1_500))
    assert not different
    assert equal > 100


def changed(seed: str) -> str:
    """Return a random query with one to three tokens inserted, replaced or removed."""
    words = [*"()[]{},+-@:=x", "==", "=~", "and", "by", "on", "bool", "offset", "5m", "1", '"s"', "sum"]
    words += ["rate", "topk", "start", "(a)", "[5m]"]
    drawn = generator(seed)
    parts = tokens(drawn.query(drawn.rng.choice((0, 1, 2))).text)
    for _ in range(drawn.rng.choice((1, 1, 2, 3))):
        _change(drawn.rng, parts, words)
    return " ".join(parts)


def _change(rng: random.Random, parts: list[str], words: list[str]) -> None:
    at = rng.randrange(len(parts) + 1)
    parts[at : at + rng.choice((0, 1))] = rng.choice(([], [rng.choice(words)]))
