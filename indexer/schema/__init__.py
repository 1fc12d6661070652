"""The tables, as data: what they are (tables.py), their SQL (render.py), how they come to be (migrate.py)."""

from indexer.schema.migrate import migrate, statements
from indexer.schema.render import Layout
from indexer.schema.tables import GRANULARITIES, KINDS, Granularity, Retention

__all__ = ["GRANULARITIES", "KINDS", "Granularity", "Layout", "Retention", "migrate", "statements"]
