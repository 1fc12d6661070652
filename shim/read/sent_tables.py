"""The external tables sent with the text of a rendered statement."""

from __future__ import annotations

from indexer.clickhouse.store import SentTable
from shim.sql.render import SENT, Rendered


def sent_tables(rendered: Rendered) -> list[SentTable]:
    """Return the tables that the store has to send with the text."""
    return [SentTable.of_arrays(SENT, rendered.arrays)] if rendered.arrays else []
