"""Series of one metric and type that are many, without one label read: for totals over all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shim.catalog.scope import Scope
from shim.catalog.series_index import Ids
from shim.catalog.tables import Tables
from shim.catalog.types import Kind, Selection, View


@dataclass(frozen=True, slots=True)
class UnlabelledSeries:
    """The series that a selector matched. `whole`: all series of the metric in the tenant's scope then."""

    kind: Kind
    view: View
    metric_id: int
    shown: str  # the metric's name
    whole: bool
    tables: Tables
    scope: Scope
    #: The series of some ids, with their labels. Raises ExecutionError when they are too many, StoreError.
    labelled: Callable[[Ids], Selection]
    ids: Ids | None = None  # ascending; None: not read yet

    def series_ids(self) -> Ids:
        """Their ids, ascending. Raises StoreError."""
        return np.sort(self.tables.series_ids(self.scope)) if self.ids is None else self.ids
