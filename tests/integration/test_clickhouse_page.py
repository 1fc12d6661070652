"""The SQL in docs/clickhouse.md is SQL for the engine: it parses it, and runs none of it."""

from __future__ import annotations

import re

from indexer.clickhouse.store import Store
from tests.support.markdown import ROOT


def test_the_statements_are_sql(store: Store) -> None:
    page = (ROOT / "docs" / "clickhouse.md").read_text()
    statements = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    assert len(statements) == 3
    for statement in statements:
        assert store.rows(f"EXPLAIN AST {statement}")
