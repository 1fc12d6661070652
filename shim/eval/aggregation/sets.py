"""sum, also of sets: it never adds the sizes of two sets.

The sum of sets is the union of their members (semantics.md, "Sum is merge"). shim/read computes it where
`sum` directly encloses a selector or `sum_over_time`; only the sizes are known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from shim.eval.aggregation.sums import sum_
from shim.eval.aggregator import AggregationInput, AggregationOperator, Combine, plain
from shim.eval.grouping import Groups
from shim.model import labels as lbl
from shim.model.errors import Unsupported
from shim.model.labels import Labels
from shim.model.numbered_labels import Numbered
from shim.model.values import Annotations, Vector


def has_sets(labels: Sequence[Labels]) -> bool:
    """Return whether any of the series is a set."""
    return any(
        map(lbl.is_set, labels[:1] if isinstance(labels, Numbered) else labels)
    )  # numbered: all of one type


def sum_with_sets(groups: Groups, notes: Annotations) -> Vector:
    """Sum as `sum_` does; the union of one set is the set.

    Raises: Unsupported for several sets at one step of a group.
    """
    labels = groups.vector.labels
    sets = np.array([lbl.is_set(labels[row]) for row in groups.order], dtype=bool)
    members = np.zeros((len(groups.labels), groups.vector.steps), dtype=np.int64)
    np.add.at(members, groups.owner[sets], groups.present[sets])
    if (members > 1).any():
        raise Unsupported(
            "the sum of sets is the union of their members, which are only known in a selector or"
            " sum_over_time: put sum right around it, or add 0 to each to sum their sizes"
        )
    united = {int(group) for group in groups.owner[sets]}
    shown = [lbl.of_set(one) if g in united else one for g, one in enumerate(groups.labels)]
    return sum_(replace(groups, labels=shown), notes)


def _sum(given: AggregationInput) -> Vector:
    return plain(sum_with_sets if has_sets(given.vector.labels) else sum_)(given)


AGGREGATIONS = (
    AggregationOperator(
        "sum",
        "The sum of the values; of sets, the number of distinct members; of distributions, one of all",
        _sum,
        chunks=Combine("sum"),
    ),
)
