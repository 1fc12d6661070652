"""Makes the keys that rows of a part are added up by: its series, or groups of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shim.catalog.types import Part
from shim.eval.grouping import by_columns, group_labels
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model import labels as lb
from shim.model.label_naming import LabelNaming
from shim.model.numbered_labels import each_changed
from shim.plan.nodes import Grouping
from shim.read.reader import Keys, each


def named(part: Part, function: str) -> Keys:
    """Return every series by itself, under the labels that a range function leaves."""
    if RANGE_FUNCTIONS[function].keeps_name:
        return each(part)
    return each(part, each_changed(part.labels, lb.dropping_name))


def groups(
    part: Part,
    groupings: Sequence[Grouping],
    naming: LabelNaming,
    shown: Callable[[lb.Labels], lb.Labels] = lambda labels: labels,
) -> Keys:
    """Return groups of groups of series, innermost first, by the labels that `shown` makes."""
    labels, group = part.labels, part.group
    for grouping in groupings:
        meant = naming.found(grouping.labels, labels)
        columns = None
        if not grouping.without and not meant.renamed:
            columns = by_columns(labels, meant.names)
        if columns is None:
            found: dict[lb.Labels, int] = {}
            of = [
                found.setdefault(group_labels(meant.of(one), meant.names, grouping.without), len(found))
                for one in labels
            ]
            columns = np.asarray(of, dtype=np.int64), list(found)
        numbers, labels = columns
        group = numbers if group is None else numbers[group]
    return Keys([shown(one) for one in labels], group)
