"""The content of `mql_context`, and how it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from shim.http.mql import mql_context
from shim.model.errors import BadData
from shim.mql.mql_lower import MqlContext


def test_a_context_is_read() -> None:
    assert mql_context({}) == MqlContext(mappings={})
    given = {
        "rollup": {"granularity": 60, "interval": 3600, "with_totals": "true", "orderby": "desc"},
        "scope": {"use_case_id": "custom"}, "limit": 3, "offset": 0, "indexer_mappings": {"a": 1, "b": "c"},
    }  # fmt: skip
    assert mql_context(given) == MqlContext(60, 3600, True, True, "custom", 3, 0, {"a": 1, "b": "c"})


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"rollup": 1}, "mql_context.rollup: expected an object"),
        (
            {"rollup": {"interval": 0}},
            "mql_context.rollup.interval: expected a whole number, 1 to 4294967295",
        ),
        ({"rollup": {"interval": "60"}}, "mql_context.rollup.interval: expected a whole number"),
        ({"rollup": {"granularity": 1.5}}, "mql_context.rollup.granularity"),
        ({"rollup": {"orderby": "up"}}, "mql_context.rollup.orderby = 'up': expected ASC or DESC"),
        ({"scope": []}, "mql_context.scope: expected an object"),
        ({"scope": {"use_case_id": 3}}, "mql_context.scope.use_case_id: expected a text"),
        ({"limit": -1}, "mql_context.limit: expected a whole number, 0 to 10000"),
        ({"limit": 10_001}, "mql_context.limit: expected a whole number, 0 to 10000"),
        ({"rollup": {"granularity": 15}}, "mql_context.rollup.granularity = 15: expected a multiple of 10"),
        ({"limit": True}, "mql_context.limit"),
        ({"indexer_mappings": {"a": -1}}, "mql_context.indexer_mappings.a: expected an id or a name"),
        ({"indexer_mappings": {"a": None}}, "mql_context.indexer_mappings.a"),
    ],
)
def test_a_wrong_context_is_refused(given: dict[str, Any], error: str) -> None:
    with pytest.raises(BadData) as found:
        mql_context(given)
    assert str(found.value).startswith(error)
