"""Which series there are: names, labels, types, and the ids that samples carry."""

from __future__ import annotations

from shim.catalog.cardinality import Cardinality
from shim.catalog.catalog import Catalog
from shim.catalog.metadata import MetadataQueries
from shim.catalog.types import Kind, Part, Selection, View

__all__ = ["Cardinality", "Catalog", "Kind", "MetadataQueries", "Part", "Selection", "View"]
