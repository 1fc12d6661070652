"""Rosters: columns that grow, matched and shown as a row-by-row model would."""

from __future__ import annotations

import numpy as np

from shim.catalog.names import make_key
from shim.catalog.series_index import SeriesIndex, empty, grown

KEYS = ("host", "http.method", "Zone", "a:b")
Model = dict[int, dict[str, str]]


def add(roster: SeriesIndex, new: Model) -> SeriesIndex:
    new = {i: tags for i, tags in new.items() if i not in roster.series_ids.tolist()}
    tags = {}
    for key in KEYS:
        owners = [i for i, of in new.items() if key in of]
        if owners:
            values = sorted({new[i][key] for i in owners})
            codes = np.array([values.index(new[i][key]) for i in owners], dtype=np.int32)
            tags[key] = (np.array(owners, dtype=np.uint64), values, codes)
    ids = np.array(list(new), dtype=np.uint64)
    count = len(new)
    return grown(roster, ids, np.full(count, 1, np.uint32), np.full(count, 1, np.uint8), tags)


def test_what_it_knows() -> None:
    roster = add(empty(), {5: {"host": "a"}, 2: {}, 9: {"host": "b"}})
    asked = np.array([1, 2, 5, 7, 9, 2**64 - 1], dtype=np.uint64)
    assert roster.knows(asked).tolist() == [False, True, True, False, True, False]
    assert roster.rows(asked).tolist() == [0, 1, 2]
    assert not empty().knows(asked).any()
    assert empty().rows(asked).tolist() == []


def test_label_sets_of_views_are_kept_apart() -> None:
    roster = add(empty(), {1: {"host": "a"}})
    rows, keys = np.array([0]), {"host": make_key("host", "utf8", reserved=())}
    assert roster.labels(rows, "x", keys, variant="") == [(("__name__", "x"), ("host", "a"))]
    assert roster.labels(rows, "x_sum", keys, variant="sum") == [(("__name__", "x_sum"), ("host", "a"))]
    project = roster.labels(rows, "x", keys, lambda row: ("project_id", str(row)), variant="other")
    assert project == [(("__name__", "x"), ("host", "a"), ("project_id", "0"))]
