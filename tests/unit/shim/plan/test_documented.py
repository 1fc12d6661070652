"""docs/promql.md agrees with the registries, and the known differences are still differences."""

from __future__ import annotations

import pytest

from shim.model.errors import BadData
from shim.model.grid import Grid
from shim.plan import supported
from shim.plan.build import build
from shim.plan.nodes import PlanContext
from shim.plan.parse import parse
from tests.support import promql_table
from tests.support.markdown import between

DIFFERENCES = list(promql_table.differences())
#: Known by the type of their data: tests/integration/test_engine_documented.py asks those.
STORED = ("distribution", "set(", "set[", "counter")


def test_document_is_up_to_date() -> None:
    there = between(promql_table.FILE, promql_table.MARK)
    assert there == promql_table.document(), f"python -m {promql_table.MARK} writes it"


def test_document_has_every_function() -> None:
    text = promql_table.FILE.read_text()
    for name in (*supported.functions(), *supported.range_functions(), *supported.aggregations()):
        assert f"`{name}" in text


def test_known_differences_are_refused_when_planned() -> None:
    for entry in DIFFERENCES:
        if not any(word in entry["query"] for word in STORED):
            with pytest.raises(BadData) as raised:
                build(parse(entry["query"]), PlanContext(Grid.instant(0)))
            assert entry["refused"] in str(raised.value), (
                "supported? Take it from tests/known_differences.toml"
            )


def test_every_difference_says_why() -> None:
    assert all(d["here"] and d["why"] for d in DIFFERENCES)
    assert all((d["here"] == "refused") == ("refused" in d) for d in DIFFERENCES)
