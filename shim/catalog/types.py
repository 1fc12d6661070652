"""The results of a look-up of series. Pure."""

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
        """Return the days that [start, end] touches."""
        first, last = start_ms // 86_400_000, end_ms // 86_400_000
        return Days(min(max(first, 0), 65_535), min(max(last, 0), 65_535))


@dataclass(frozen=True, slots=True)
class SelectionKey:
    """One look-up of series: whose, which, when; `kept` are labels that keep their UTF-8 names."""

    tenant: Tenant
    matchers: tuple[Matcher, ...]
    days: Days
    kept: frozenset[str] = frozenset()

    @property
    def weight(self) -> int:
        """The memory of its texts, in series: one for each 100 characters."""
        return sum(len(one.name) + len(one.value) for one in self.matchers) // 100


@dataclass(frozen=True, slots=True)
class Part:
    """Series of one stored type, under one view of it.

    Series with equal labels are one series, whose data merges: `group` has the index in `labels` of every
    series' label set; None: series `i` has `labels[i]`.

    `view` is "" for the series themselves, or the classic name that selected a distribution `x`: `x_bucket`,
    `x_count`, `x_sum`; or `x` with a matcher that names `quantiles`. The labels are without `le` and
    `quantile`; the reader adds them and applies `le_matchers`. `series_ids` and `project_ids` go together,
    ids ascend. `labels` are distinct.

    `whole` says that these are all series of `metric_ids` in the selected days, of this kind and in the
    tenant's scope. SQL then needs no condition on series_id, and the reader leaves out unknown series (those
    with data on other days only).

    `span`: the first and last id, if all series of the metric between them belong to the part.
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
    """All matching series; a label set occurs at most once among histograms and once among other types."""

    parts: tuple[Part, ...]
    infos: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def series(self) -> int:
        """The number of label sets."""
        return sum(len(part.labels) for part in self.parts)
