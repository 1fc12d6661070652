"""Every text of MQL's corpus is translated, or refused with its error and the place of it."""

from __future__ import annotations

import re

import pytest

from shim.model.errors import BadData
from shim.model.tenancy import Tenant
from shim.mql.mql_lower import MqlContext, to_snql
from shim.mql.mql_parser import parse_mql
from shim.snql.lower import Asked, lower
from shim.snql.lowered import Lowered
from shim.snql.parser import MAX_DEPTH, parse_snql
from shim.snql.unparse import unparse_query
from tests.corpus.snql_texts import MQL, Refused, texts

TEXTS = texts(MQL)


def lowered(text: str, context: MqlContext | None = None) -> Lowered:
    query = to_snql(text, parse_mql(text), context or MqlContext())
    return lower(text, query, Asked(Tenant(1, 1), 1_700_000_000))


@pytest.mark.parametrize("text", TEXTS.valid)
def test_a_valid_text_is_translated(text: str) -> None:
    assert lowered(text, MqlContext(interval_s=60)).output


@pytest.mark.parametrize("case", TEXTS.invalid, ids=lambda case: repr(case.text))
def test_an_invalid_text_is_refused_with_its_place(case: Refused) -> None:
    with pytest.raises(BadData) as found:
        lowered(case.text)
    assert str(found.value) == case.error
    assert re.search(r"line \d+, column \d+", case.error)


@pytest.mark.parametrize(
    ("mql", "value"),
    [
        ("sum(a){k:v* OR !l:w}", "sumIf(a, k LIKE 'v%' OR NOT l = 'w')"),
        ("(sum(a{x:1}) / avg(b)){y:2} * 100", "sumIf(a, y = '2' AND x = '1') / avgIf(b, y = '2') * 100"),
        ('max(a){k:[2, "3*"]}', "maxIf(a, k IN ('2') OR k LIKE '3%')"),
        ("abs(-sum(a))", "abs(negate(sum(a)))"),
    ],
)
def test_a_translation(mql: str, value: str) -> None:
    """The tags of SnQL without an entity are plain names."""
    same = lower(value, parse_snql(f"SELECT {value} AS aggregate_value"), Asked(Tenant(1, 1), 1_700_000_000))
    found = lowered(mql)
    assert (found.leaves, found.slots, found.output) == (same.leaves, same.slots, same.output)


def test_the_context_is_a_part_of_the_query() -> None:
    context = MqlContext(
        granularity_s=3600, interval_s=7200, totals=True, descending=True, use_case="custom",
        limit=5, offset=2, mappings={"a": "c:custom/a@none", "c:custom/a@none": 7, "k": 8, "v": 9},
    )  # fmt: skip
    text = "sum(a){k:v} by (k)"
    assert unparse_query(to_snql(text, parse_mql(text), context)) == (
        "SELECT toStartOfInterval(timestamp, toIntervalSecond(7200)) AS time, tags[8] AS k,"
        " sumIf(``, and(equals(metric_id, 7), equals(tags[8], 9))) AS aggregate_value"
        " BY toStartOfInterval(timestamp, toIntervalSecond(7200)) AS time, tags[8] AS k"
        " WHERE and(equals(granularity, 3600), in(use_case_id, tuple('custom', '')))"
        " ORDER BY aggregate_value DESC LIMIT 5 OFFSET 2 TOTALS true"
    )


@pytest.mark.parametrize(
    "text",
    [
        "(" * (MAX_DEPTH + 1) + "sum(a)" + ")" * (MAX_DEPTH + 1),
        "sum(a){" + "!" * 100_000 + "k:v}",
        "sum(a){" + "(" * 100_000,
        "- " * 200 + "sum(a)",
        "sum(a)" + " + sum(a)" * 201,
    ],
)
def test_a_text_that_is_too_deep_is_refused(text: str) -> None:
    with pytest.raises(BadData, match=r"(nested deeper|more than \d+).* at line 1, column \d+"):
        parse_mql(text)
