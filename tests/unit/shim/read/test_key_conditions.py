"""Conditions on time agree with the schema's primary keys, and leave out all that they can."""

from __future__ import annotations

from shim.read.key_conditions import within
from shim.sql import nodes as sql
from shim.sql.render import render

DAY_S = 86_400


def text(granularity_s: int, lo_s: int, hi_s: int) -> str:
    query = sql.Query((), sql.Table("d", "t"), where=tuple(within(granularity_s, lo_s, hi_s)))
    return render(query).text.split(" WHERE ")[1].replace("timestamp", "t")


def test_a_short_span_names_its_hours_or_days() -> None:
    at = 100 * DAY_S
    assert text(10, at + 3_590, at + 7_200) == (
        f"(t < {at + 7_200}) AND (t >= {at + 3_590})"
        f" AND (toStartOfHour(t) >= {at}) AND (toStartOfHour(t) <= {at + 3_600})"
    )
    assert text(60, at - 60, at + 60) == (
        f"(t < {at + 60}) AND (t >= {at - 60})"
        f" AND (toStartOfDay(t) >= {at - DAY_S}) AND (toStartOfDay(t) <= {at})"
    )


def test_other_spans_do_not() -> None:
    at = 100 * DAY_S
    plain = f"(t < {at}) AND (t >= {at - DAY_S})"
    assert text(10, at - DAY_S, at) == plain  # most of a day's partition is read anyway
    assert text(3_600, at - DAY_S, at) == plain
    assert text(60, 0, at) == f"(t < {at})"
    assert text(10, 20, 10) == "(t < 10) AND (t >= 20)"
    assert text(10, -20, -10) == "(t < 0)"
