"""The tables, as data: what they are (tables.py), their SQL (render.py), how they come to be (migrate.py)."""

from indexer.clickhouse.schema.eras import has_legacy_inputs
from indexer.clickhouse.schema.migrate import (
    SCOPED_IDENTITIES,
    STORED_IDENTITIES,
    applied_ms,
    is_current,
    migrate,
    statements,
)
from indexer.clickhouse.schema.render import Layout
from indexer.clickhouse.schema.tables import GRANULARITIES, KINDS, Granularity, Retention

__all__ = [
    "GRANULARITIES",
    "KINDS",
    "SCOPED_IDENTITIES",
    "STORED_IDENTITIES",
    "Granularity",
    "Layout",
    "Retention",
    "applied_ms",
    "has_legacy_inputs",
    "is_current",
    "migrate",
    "statements",
]
