"""Shows the distributions in one query's answer as classic series, on the boundaries that `x_bucket` has."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shim.catalog import Catalog
from shim.catalog.types import Days, Part, Selection
from shim.eval.classic_view import as_classic, samples_as_classic
from shim.model import labels as lb
from shim.model.matchers import Matcher
from shim.model.values import Samples, Value, Vector
from shim.read.reader import Reader
from shim.read.selectors import SelectSeries


@dataclass(slots=True)
class ClassicAnswer:
    """Remembers which distributions a query selects, for their boundaries. Used by several threads."""

    catalog: Catalog
    reader: Reader
    metric_ids: dict[str, dict[int, None]] = field(default_factory=dict)  # by shown name
    _ladders: dict[str, Sequence[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def noting(self, select: Callable[..., Selection]) -> SelectSeries:
        """Wrap `select` so that the distributions it finds are remembered."""

        def noted(matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Selection:
            found = select(matchers, start_ms, end_ms)
            for part in found.parts:
                if part.kind == "histogram" and not part.view:
                    self._note(part, Days.of(start_ms, end_ms))
            return found

        return noted

    def _note(self, part: Part, days: Days) -> None:
        shown = dict.fromkeys(lb.get(labels, lb.NAME) for labels in part.labels)
        names = self.catalog.names(self.reader.tenant, days) if len(shown) > 1 else None
        with self._lock:
            for name in shown:
                ids = part.metric_ids
                if names is not None:
                    ids = tuple(t.metric.id for t in names.find([Matcher(lb.NAME, "=", name)]) if not t.view)
                self.metric_ids.setdefault(name, {}).update(dict.fromkeys(ids))

    def shown(self, value: Value | Samples) -> Value | Samples:
        """Return the value without native histograms. Raises ExecutionError (too large), StoreError."""
        if isinstance(value, Vector):
            return as_classic(value, self.ladder, self.reader.check_cells)
        if isinstance(value, Samples):
            return samples_as_classic(value, self.ladder, self.reader.check_cells)
        return value

    def ladder(self, name: str) -> Sequence[float]:
        """Return the boundaries of a distribution; for an unknown name, those of all selected ones."""
        if name not in self._ladders:
            of = [name] if name in self.metric_ids else list(self.metric_ids)
            every = (self._read(one) for one in of)
            self._ladders[name] = sorted({bound for ladder in every for bound in ladder})
        return self._ladders[name]

    def _read(self, name: str) -> Sequence[float]:
        reader = self.reader
        return self.catalog.ladders.ladder(reader.tenant, tuple(self.metric_ids[name]), tag=reader.tag)
