"""SQL nodes -> text: what each node becomes, and that no text but names of ours gets in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from shim.sql import nodes as sql
from shim.sql.render import identifier, render

TABLE = sql.Table("meterhouse", "counters_10s")


def ids(*values: int) -> npt.NDArray[np.uint64]:
    return np.array(values, np.uint64)


def one(expr: sql.Expr) -> str:
    """The text of an expression."""
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
    assert identifier("a`b\\c") == "`a\\`b\\\\c`"
    table = sql.Table("x` WHERE 1 --", "t")
    assert (
        render(sql.Query((sql.Named(sql.col("a"), "a"),), table)).text
        == "SELECT a FROM `x\\` WHERE 1 --`.`t`"
    )
