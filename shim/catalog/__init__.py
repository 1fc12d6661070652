"""Which series there are: names, labels, types, and the ids that samples carry."""

from __future__ import annotations

from shim.catalog.types import Kind, Part, Selection, View

__all__ = ["Kind", "Part", "Selection", "View"]
