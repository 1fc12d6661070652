"""Literals at the bounds of the language."""

from __future__ import annotations

from shim.plan.parse import parse
from shim.promql.printer import format_query


def test_a_regex_of_a_mebibyte_is_taken() -> None:
    pattern = "|".join(f"v{i:06}" for i in range(120_000))
    assert len(format_query(parse(f'x{{a=~"{pattern}"}}'))) == len(pattern) + 8
