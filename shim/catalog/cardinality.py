"""Who is large: the metrics, labels and pairs of a tenant with most series, values and bytes.

For `/api/v1/status/tsdb`. Names are shown as everywhere else; those that are one in underscores count as one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from shim.catalog.catalog import Catalog
from shim.catalog.names import Key
from shim.catalog.types import Days
from shim.model.name_forms import Style
from shim.model.tenancy import Tenant


@dataclass(frozen=True, slots=True)
class Cardinality:
    """Today's size of a tenant: counts, and the largest of each kind with their counts."""

    series: int
    label_pairs: int
    series_by_metric: Sequence[tuple[str, int]]
    values_by_label: Sequence[tuple[str, int]]
    bytes_by_label: Sequence[tuple[str, int]]
    series_by_pair: Sequence[tuple[str, int]]


def cardinality(
    catalog: Catalog, tenant: Tenant, days: Days, keys: Mapping[int, Key], style: Style, limit: int
) -> Cardinality:
    """Return the `limit` largest entries of each kind in those days; `keys` are the labels of all tag keys.

    Raises StoreError.
    """
    tables = catalog.tables
    shown = {metric.id: metric.shown(style) for metric in catalog.names(tenant, days).metrics}
    labels = {i: key.shown for i, key in keys.items()}
    series, label_pairs = tables.count_series(tenant, days)
    metrics = tables.top_metrics(tenant, days, limit, as_one(shown))
    top_keys = tables.top_keys(tenant, days, limit, as_one(labels))
    pairs = tables.top_pairs(tenant, days, limit, as_one(labels))

    def new(ids: Collection[int], known: Mapping[int, str]) -> Mapping[int, str]:
        """Return the strings of newly seen ids too."""
        missing = [i for i in ids if i not in known]
        return {**known, **catalog.strings.texts(tenant.org_id, missing)[0]} if missing else known

    shown = dict(new([i for i, _ in metrics], shown))
    labels = dict(new([k for k, *_ in (*top_keys, *pairs)], labels))
    values, _ = catalog.strings.texts(tenant.org_id, {v for _, v, _ in pairs})
    return Cardinality(
        series=series,
        label_pairs=label_pairs,
        series_by_metric=[(shown[i], n) for i, n in metrics],
        values_by_label=[(labels[k], n) for k, n, _ in top_keys],
        bytes_by_label=[(labels[k], size) for k, _, size in top_keys],
        series_by_pair=[(f"{labels[k]}={values[v]}", n) for k, v, n in pairs],
    )


def as_one(names: Mapping[int, str]) -> Mapping[int, int]:
    """Return ids that share a name with another, and the one that counts for all of them."""
    first: dict[str, int] = {}
    found = {i: first.setdefault(name, i) for i, name in sorted(names.items())}
    return {i: one for i, one in found.items() if i != one}
