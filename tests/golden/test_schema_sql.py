"""The DDL, as text: a change of the schema is seen in the diff of tests/golden/*.sql.

METERHOUSE_UPDATE_GOLDEN=1 pytest tests/golden/test_schema_sql.py    writes the files anew
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.clickhouse.schema import Layout, statements
from indexer.clickhouse.store import Store

HERE = Path(__file__).parent
UPDATE = bool(os.environ.get("METERHOUSE_UPDATE_GOLDEN"))  # read at import: a fixture clears the environment


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("schema_single", Layout()),
        ("schema_cluster", Layout(cluster="prod")),
        ("schema_without_alp", Layout(alp=False)),
    ],
)
def test_statements(name: str, layout: Layout) -> None:
    text = "".join(f"{s.text};\n\n" for s in statements(layout))
    path = HERE / f"{name}.sql"
    if UPDATE:
        path.write_text(text)
    assert text == path.read_text()


def test_names_are_quoted() -> None:
    text = "\n".join(s.text for s in statements(Layout(database="a`b\\", cluster="c'd`")))
    assert "`a\\`b\\\\`.`series_local` ON CLUSTER `c'd\\``" in text
    assert "Distributed('c\\'d`', 'a`b\\\\', 'series_local', series_id)" in text


@pytest.mark.parametrize("layout", [Layout(), Layout(cluster="prod"), Layout(alp=False)])
def test_clickhouse_parses_every_statement(store: Store, layout: Layout) -> None:
    for statement in statements(layout):
        assert store.rows("SELECT formatQuery({q:String})", {"q": statement.text})
