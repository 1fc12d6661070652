"""SQL nodes -> text: the text of each node, and that no text but names of ours gets in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from indexer.clickhouse.sql_quoting import quote_name
from shim.sql import nodes as sql
from shim.sql.render import MAX_NUMBERS, render

TABLE = sql.Table("meterhouse", "counters_10s")


def ids(*values: int) -> npt.NDArray[np.uint64]:
    return np.array(values, np.uint64)


def one(expr: sql.Expr) -> str:
    """Return the text of an expression."""
    text = render(sql.Query((sql.Named(expr, "out"),), TABLE)).text
    return text.removeprefix("SELECT ").removesuffix(" AS out FROM `meterhouse`.`counters_10s`")


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (sql.col("value"), "value"),
        (sql.Int(5), "5"),
        (sql.Int(-5), "-5"),
        (sql.Int(2**64 - 1), "18446744073709551615"),
        (sql.Ints(ids(1, 2**63)), "CAST('[1,9223372036854775808]', 'Array(UInt64)')"),
        (sql.Ints(ids(1), "UInt32"), "CAST('[1]', 'Array(UInt32)')"),
        (sql.Ints(ids()), "CAST('[]', 'Array(UInt64)')"),
        (sql.call("sum", "value"), "sum(value)"),
        (sql.call("now"), "now()"),
        (sql.call("if", sql.op("=", "a", 1), "b", 0), "if((a = 1), b, 0)"),
        (sql.op("-", sql.op("-", "a", "b"), "c"), "((a - b) - c)"),
        (sql.op("-", "a", sql.op("-", "b", "c")), "(a - (b - c))"),
        (sql.op("AND", "a", "b", "c"), "(a AND b AND c)"),
        (sql.op("-", "a", -1), "(a - -1)"),
        (sql.member("series_id", ids(7)), "(series_id = 7)"),
        (sql.member("series_id", ids(7, 8)), "(series_id IN (7,8))"),
        (sql.Lambda(("x", "y"), sql.op("+", "x", "y")), "(x, y) -> (x + y)"),
        (
            sql.op("IN", sql.Tuple((sql.col("a"), sql.call("f", "b"))), sql.Tuples(((1, 2), (3, 4)))),
            "((a, f(b)) IN ((1,2),(3,4)))",
        ),
        (sql.Element(sql.col("last"), 2), "tupleElement(last, 2)"),
    ],
)
def test_expressions(expr: sql.Expr, text: str) -> None:
    assert one(expr) == text


def test_a_whole_statement() -> None:
    inner = sql.Query(
        (sql.Named(sql.col("series_id"), "k"), sql.Named(sql.col("value"), "value")), TABLE,
        where=(sql.op("=", "org_id", 1), sql.op("<", "timestamp", sql.call("toDateTime", 60))),
    )  # fmt: skip
    query = sql.Query(
        (sql.Named(sql.col("k"), "k"), sql.Named(sql.call("sum", "value"), "v")),
        sql.Union((inner, inner)),
        where=(sql.op(">", "k", 0),),
        group_by=("k",),
        order_by=("k", "v"),
        array_join=(sql.Named(sql.call("range", 3), "i"),),
        limit=10,
        settings=(("max_execution_time", 5), ("max_threads", 1)),
    )
    read = (
        "SELECT series_id AS k, value FROM `meterhouse`.`counters_10s` "
        "WHERE (org_id = 1) AND (timestamp < toDateTime(60))"
    )
    assert render(query).text == (
        f"SELECT k, sum(value) AS v FROM ({read} UNION ALL {read}) ARRAY JOIN range(3) AS i WHERE (k > 0) "
        "GROUP BY k ORDER BY k, v LIMIT 10 SETTINGS max_execution_time = 5, max_threads = 1"
    )


def test_a_query_inside_a_query() -> None:
    inner = sql.Query((sql.Named(sql.col("value"), "value"),), TABLE)
    assert render(sql.Query((sql.Named(sql.col("value"), "value"),), inner)).text == (
        "SELECT value FROM (SELECT value FROM `meterhouse`.`counters_10s`)"
    )


def test_a_join_is_global() -> None:
    inner = sql.Query((sql.Named(sql.col("series_id"), "series_id"),), TABLE)
    text = render(sql.Query((sql.Named(sql.col("v"), "v"),), sql.Join(TABLE, inner, "series_id"))).text
    assert text == (
        "SELECT v FROM `meterhouse`.`counters_10s` AS l GLOBAL ANY LEFT JOIN"
        " (SELECT series_id FROM `meterhouse`.`counters_10s`) AS r USING (series_id)"
    )


NAMES = ["", "a b", "a'b", "a`b", "a)", "a--", "1a", "é", "a\n", "a;DROP TABLE x", 'a"b', "a.b", "*"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_not_ours_are_refused(name: str) -> None:
    plain = sql.Named(sql.col("value"), "value")
    for query in (
        sql.Query((sql.Named(sql.col(name), "out"),), TABLE),
        sql.Query((sql.Named(sql.call(name, 1), "out"),), TABLE),
        sql.Query((sql.Named(sql.col("value"), name),), TABLE),
        sql.Query((sql.Named(sql.Ints(ids(1), name), "out"),), TABLE),
        sql.Query((sql.Named(sql.Lambda((name,), sql.col("x")), "out"),), TABLE),
        sql.Query((plain,), TABLE, group_by=(name,)),
        sql.Query((plain,), TABLE, order_by=(name,)),
        sql.Query((plain,), TABLE, array_join=(sql.Named(sql.col("value"), name),)),
        sql.Query((plain,), TABLE, settings=((name, 1),)),
    ):
        with pytest.raises(ValueError, match="not a name of ours"):
            render(query)


@pytest.mark.parametrize("bad", ["1; DROP TABLE x", "1 OR 1=1", None])
def test_numbers_are_numbers(bad: Any) -> None:
    plain = sql.Named(sql.col("a"), "a")
    for query in (
        sql.Query((sql.Named(sql.Int(bad), "out"),), TABLE),
        sql.Query((sql.Named(sql.Ints(np.array([bad])), "out"),), TABLE),
        sql.Query((sql.Named(sql.op("IN", "a", sql.Ints(np.array([bad]))), "out"),), TABLE),
        sql.Query((sql.Named(sql.op("IN", "a", sql.Tuples(((1, bad),))), "out"),), TABLE),
        sql.Query((plain,), TABLE, settings=(("a", bad),)),
    ):
        with pytest.raises((ValueError, TypeError)):
            render(query)


@pytest.mark.parametrize("operator", ["; DROP TABLE x", "=1 OR 1=", "", "LIKE"])
def test_operators_that_are_not_ours_are_refused(operator: str) -> None:
    with pytest.raises(ValueError, match="not an operator of ours"):
        render(sql.Query((sql.Named(sql.op(operator, "a", 1), "out"),), TABLE))


def test_database_names_are_quoted() -> None:
    """A database is named by the DSN: the one name that is not ours."""
    assert quote_name("a`b\\c") == "`a\\`b\\\\c`"
    table = sql.Table("x` WHERE 1 --", "t")
    assert (
        render(sql.Query((sql.Named(sql.col("a"), "a"),), table)).text
        == "SELECT a FROM `x\\` WHERE 1 --`.`t`"
    )


# ---------------------------------------------------------------- long lists travel beside the text


def long(count: int) -> npt.NDArray[np.uint64]:
    return np.arange(count, dtype=np.uint64) + np.uint64(2**63)


def test_a_long_list_of_ids_is_sent() -> None:
    many = long(MAX_NUMBERS + 1)
    query = sql.Query((sql.Named(sql.col("a"), "a"),), TABLE, (sql.member("a", many),))
    found = render(query)
    assert found.text == (
        "SELECT a FROM `meterhouse`.`counters_10s` WHERE (a GLOBAL IN (SELECT arrayJoin(list1) FROM sent))"
    )
    assert found.arrays.keys() == {"list1"}
    assert found.arrays["list1"].tolist() == many.tolist()


def test_a_map_is_sent_as_two_arrays_of_their_types() -> None:
    groups = np.arange(1_000, dtype=np.int64)
    mapped = sql.call("transform", "a", sql.Ints(long(1_000)), sql.Ints(groups, "UInt16"), 0)
    found = render(sql.Query((sql.Named(mapped, "k"),), TABLE))
    assert "transform(a, (SELECT list1 FROM sent), (SELECT list2 FROM sent), 0) AS k" in found.text
    assert [a.dtype.str for a in found.arrays.values()] == ["<u8", "<u2"]


def test_one_array_is_sent_once() -> None:
    many, other = long(1_000), long(1_000)
    once = sql.Query((sql.Named(sql.col("a"), "a"),), TABLE, (sql.member("a", many), sql.member("b", other)))
    found = render(sql.Query((sql.Named(sql.Ints(many), "x"),), sql.Union((once, once, once))))
    assert list(found.arrays) == ["list1", "list2"]
    assert found.text.count("list1") == 4


@pytest.mark.parametrize("length", [1, 30, 500, 5_000, 100_000])
@pytest.mark.parametrize("members", [1, 7, 56])
def test_the_text_is_bounded(length: int, members: int) -> None:
    """At most as many integers as MAX_NUMBERS come from lists, however many lists there are."""
    ids_of = long(length)
    groups = np.arange(length)
    mapped = sql.call("transform", "a", sql.Ints(ids_of), sql.Ints(groups, "UInt32"), 0)
    one = sql.Query((sql.Named(mapped, "k"),), TABLE, (sql.op("IN", "a", sql.Ints(ids_of)),))
    found = render(sql.Query((sql.Named(sql.col("k"), "k"),), sql.Union((one,) * members)))
    assert len(found.text) < 21 * MAX_NUMBERS + members * 300
    assert sum(len(a) for a in found.arrays.values()) <= 2 * length


@pytest.mark.parametrize("count", [MAX_NUMBERS + 1, 5_000])
def test_what_is_sent_are_numbers_of_our_types(count: int) -> None:
    for ints in (sql.Ints(np.zeros(count)), sql.Ints(np.array(["1"] * count)), sql.Ints(long(count), "a)")):
        with pytest.raises(ValueError, match=r"not integers|not a name of ours"):
            render(sql.Query((sql.Named(ints, "out"),), TABLE))


def test_settings_that_a_user_may_not_send_are_left_out() -> None:
    """Those that bound or speed a statement alone: without another one its answer could change."""
    query = sql.Query((sql.Named(sql.col("v"), "v"),), TABLE, settings=(("max_execution_time", 9),))
    assert render(query).text == render(query, with_settings=False).text + " SETTINGS max_execution_time = 9"
    with pytest.raises(ValueError, match=r"not settings that only bound or speed a statement: .*'limit'"):
        render(replace(query, settings=(("limit", 9),)), with_settings=False)
