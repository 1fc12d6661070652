"""Every text of the corpus is parsed, or refused with its error and the place of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shim.model.errors import BadData, Forbidden
from shim.model.tenancy import Tenant
from shim.snql.lower import Asked, lower
from shim.snql.parser import MAX_ARITHMETIC, MAX_DEPTH, MAX_OPERATORS, parse_snql
from shim.snql.syntax import Aliased, ColumnRef, Constant, FunctionCall, TagRef
from tests.corpus.snql_texts import Refused, texts

TEXTS = texts()
SEED = Path(__file__).parents[4] / ".." / "shared" / "seeds" / "004_fc615c8dd61d689c.txt"


@pytest.mark.parametrize("text", TEXTS.valid)
def test_a_valid_text_is_parsed(text: str) -> None:
    assert parse_snql(text).select


@pytest.mark.parametrize("case", TEXTS.invalid, ids=lambda case: repr(case.text))
def test_an_invalid_text_is_refused_with_its_place(case: Refused) -> None:
    with pytest.raises((BadData, Forbidden)) as found:
        lower(case.text, parse_snql(case.text), Asked(Tenant(1, 2), 1_700_000_000))
    assert str(found.value) == case.error
    assert re.search(r"line \d+, column \d+", case.error)


def test_a_query_without_a_project_is_told_where() -> None:
    text = "MATCH (metrics_counters) SELECT sum(value)"
    with pytest.raises(BadData, match=r"no condition on project_id: .* \(at line 1, column 8\)"):
        lower(text, parse_snql(text), Asked(Tenant(1, None), 1_700_000_000))


def test_entities_of_tags_have_no_time() -> None:
    text = "MATCH (generic_metrics_counters_meta)\nSELECT count(), timestamp"
    with pytest.raises(BadData, match="has no buckets of time at line 2, column 17: expected other keys"):
        lower(text, parse_snql(text), Asked(Tenant(1, 2), 1_700_000_000, dataset="generic_metrics"))


def test_the_seed_has_these_queries() -> None:
    if not SEED.exists():
        pytest.skip(f"{SEED} is missing: the seed's queries are not compared with their document")
    document = SEED.read_text("utf-8")
    assert len(TEXTS.seed) == 13
    assert document.count("MATCH (") == sum(one.text.count("MATCH (") for one in TEXTS.seed) == 8
    assert [one.name for one in TEXTS.seed if one.text.strip() not in document] == []


def test_operators_are_functions() -> None:
    query = parse_snql("SELECT a / 60 AS b WHERE tags[7] NOT IN (1) AND (c = -1 AND tags_raw['x'] LIKE 'y')")
    assert query.select == (Aliased(FunctionCall("divide", (ColumnRef("a"), Constant(60))), "b"),)
    where = query.where
    assert isinstance(where, FunctionCall)
    assert (where.name, len(where.args)) == ("and", 3)
    assert where.args[1] == FunctionCall("equals", (ColumnRef("c"), Constant(-1)))
    names = [arg.name for arg in where.args if isinstance(arg, FunctionCall)]
    assert names == ["notIn", "equals", "like"]
    assert where.args[2] == FunctionCall("like", (TagRef("x", raw=True), Constant("y")))


def test_clauses_are_read() -> None:
    query = parse_snql(
        "MATCH (m: e) SELECT a BY b WHERE c = 1 HAVING d > 2 ORDER BY e DESC, f LIMIT 3 BY g LIMIT 4 OFFSET 5"
        " GRANULARITY 60 TOTALS"
    )
    assert query.source is not None
    assert (query.source.name, query.source.alias) == ("e", "m")
    assert query.group_by == (ColumnRef("b"),)
    assert [one.descending for one in query.order_by] == [True, False]
    assert query.limit_by is not None
    assert (query.limit_by.count, query.limit, query.offset, query.granularity) == (3, 4, 5, 60)
    assert query.totals


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1),
        "SELECT " + "- " * 102 + "a",
        "SELECT " + "f(" * 100_000,
        "SELECT a WHERE " + "NOT " * 150 + "b = 1",
        "SELECT a" + " + a" * (MAX_ARITHMETIC + 1),
        "SELECT a WHERE b = 1" + " OR b = 1" * MAX_OPERATORS,
    ],
)
def test_what_is_too_deep_is_refused(text: str) -> None:
    with pytest.raises(BadData, match=r"(nested deeper|more than \d+).* at line 1, column \d+"):
        parse_snql(text)


def test_what_is_as_deep_as_may_be_is_parsed() -> None:
    parse_snql("SELECT " + "(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH)
    parse_snql("SELECT a" + " - a" * MAX_ARITHMETIC)


def test_a_long_text_is_refused() -> None:
    with pytest.raises(BadData, match=r"longer than 100 bytes .* at line 1, column 55"):
        parse_snql("SELECT '" + "é" * 60 + "'", max_bytes=100)
