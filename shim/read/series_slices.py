"""Readings of very many series, made in slices of series, so that memory and hash tables stay small. Pure.

A slice is a range of ascending ids: its statement names the first and the last, which the primary key has,
and no list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from shim.catalog.types import Part
from shim.model.values import Ints

#: Series times rows (or cells) that one slice reads: 8 MB a column.
MAX_CELLS: Final = 1 << 20


def slices(part: Part, cells: int, max_cells: int) -> Iterator[tuple[slice, Part]]:
    """Cut a part into slices of `max_cells` at most, each series having `cells`; one slice if it is small.

    Series that are one (`part.group`) stay together: there is one slice then.
    """
    size = max(1, max_cells // max(1, cells))
    count = len(part.series_ids)
    if count <= size or part.group is not None:
        yield slice(0, count), part
        return
    for start in range(0, count, size):
        here = slice(start, min(count, start + size))
        ids = part.series_ids[here]
        some = replace(
            part,
            series_ids=ids,
            project_ids=part.project_ids[here],
            labels=part.labels[here],
            whole=False,
            span=(int(ids[0]), int(ids[-1])) if part.whole or part.span is not None else None,
        )
        yield here, some


def group_slices(part: Part, groups: int, group: Ints, size: int) -> Iterator[tuple[slice, Part, Ints]]:
    """Cut groups of a part's series into slices of `size` groups.

    Gives which groups, a part of their series, and the group of each, counted from the slice's first.
    """
    if groups <= size:
        yield slice(0, groups), part, group
        return
    for start in range(0, groups, size):
        series = np.flatnonzero((group >= start) & (group < start + size))
        one = part.group
        some = replace(
            part,
            series_ids=part.series_ids[series],
            project_ids=part.project_ids[series],
            labels=part.labels if one is not None else [part.labels[i] for i in series.tolist()],
            group=None if one is None else one[series],
            whole=False,
            span=None,
        )
        yield slice(start, min(groups, start + size)), some, group[series] - start
