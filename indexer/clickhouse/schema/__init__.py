"""The tables as data (tables.py), their SQL (render.py), and their migrations (migrate.py)."""

from indexer.clickhouse.granularities import GRANULARITIES, Granularity
from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.eras import has_legacy_inputs
from indexer.clickhouse.schema.later_versions import too_new
from indexer.clickhouse.schema.metric_types import KINDS
from indexer.clickhouse.schema.migrate import (
    SCOPED_IDENTITIES,
    STORED_IDENTITIES,
    applied_times,
    applied_versions,
    complete,
    lacking,
    later_migrations,
    make_on_this_node,
    migrate,
    statements,
)
from indexer.clickhouse.schema.render import Layout

__all__ = [
    "GRANULARITIES",
    "KINDS",
    "SCOPED_IDENTITIES",
    "STORED_IDENTITIES",
    "Granularity",
    "Layout",
    "Retention",
    "applied_times",
    "applied_versions",
    "complete",
    "has_legacy_inputs",
    "lacking",
    "later_migrations",
    "make_on_this_node",
    "migrate",
    "statements",
    "too_new",
]
