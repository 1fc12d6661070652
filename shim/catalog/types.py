"""What a look-up of series gives. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shim.model.labels import Labels
from shim.model.matchers import Matcher
from shim.model.tenancy import Tenant
from shim.model.values import Ints

Kind = Literal["counter", "gauge", "histogram", "set"]
View = Literal["", "bucket", "count", "sum", "quantile"]


@dataclass(frozen=True, slots=True)
class Days:
    """The days a request is about: since 1970, both ends included."""

    first: int
    last: int

    @staticmethod
    def of(start_ms: int, end_ms: int) -> Days:
        first, last = start_ms // 86_400_000, end_ms // 86_400_000
        return Days(min(max(first, 0), 65_535), min(max(last, 0), 65_535))


@dataclass(frozen=True, slots=True)
class SelectionKey:
    """One look-up of series: whose, which, when; `kept` are labels that keep their UTF-8 names."""

    tenant: Tenant
    matchers: tuple[Matcher, ...]
    days: Days
    kept: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """Series of one stored type, under one view of it.

    Of series that are one, `group` has the index in `labels` of every series' label set; None: series `i` has
    `labels[i]`. What they hold merges.

    `view` is "" for the series themselves, or the classic name of a distribution `x` they were asked by:
    `x_bucket`, `x_count`, `x_sum`; or `x` with a matcher that names `quantiles`. The labels are without `le`
    and `quantile`; the reader adds them and applies `le_matchers`. `series_ids` and `project_ids` go
    together, ids ascend. `labels` are distinct.

    `whole` says that the series are all there are of `metric_ids` in the days that were asked for, of this
    kind and in the tenant's scope: SQL then needs no condition on series_id, and the reader leaves out what
    it does not know (series that have data on other days alone).

    `span`: the first and last id, where all series of the metric between them are of the part.
    """

    kind: Kind
    view: View
    metric_ids: tuple[int, ...]
    series_ids: npt.NDArray[np.uint64]
    project_ids: npt.NDArray[np.uint32]
    labels: Sequence[Labels]
    whole: bool
    le_matchers: tuple[Matcher, ...] = ()
    quantiles: tuple[float, ...] = ()
    group: Ints | None = None
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """All that matched; a label set stands at most once among the histograms and once among the others."""

    parts: tuple[Part, ...]
    infos: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def series(self) -> int:
        return sum(len(part.labels) for part in self.parts)
