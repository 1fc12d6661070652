"""Rosters: columns that grow, matched and shown as a row-by-row model would."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shim.catalog.names import make_key, reserved_labels
from shim.catalog.series_index import SeriesIndex, empty, grown
from shim.model.labels import Labels
from shim.model.matchers import Matcher, MatchOp

KEYS = ("host", "http.method", "Zone", "a:b")
Model = dict[int, dict[str, str]]

series = st.dictionaries(
    st.integers(1, 2**64 - 1),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["", "a", "b", "ab"])),
    max_size=12,
)
ops: st.SearchStrategy[MatchOp] = st.sampled_from(["=", "!=", "=~", "!~"])


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


def shown(tags: dict[str, str]) -> Labels:
    pairs = {k.replace(".", "_").replace(":", "_"): v for k, v in tags.items() if v}
    return tuple(sorted({"__name__": "m", **pairs}.items()))


@given(series, series, st.sampled_from(["host", "http_method", "http.method", "Zone", "a_b", "nosuch"]), ops,
       st.sampled_from(["", "a", "b", "a.*", ".*", "a|"]))  # fmt: skip
def test_a_grown_roster_is_the_model(
    first: Model, second: Model, label: str, op: MatchOp, value: str
) -> None:
    model: Model = {**second, **first}
    roster = add(add(empty(), first), second)
    assert roster.series_ids.tolist() == sorted(model)
    reserved = reserved_labels(org_wide=False, view="")
    keys = {name: make_key(name, "underscore", reserved=reserved) for name in roster.columns}
    rows = np.arange(len(roster), dtype=np.int64)
    for _ in range(2):  # the second time from memory
        made = roster.labels(rows, "m", keys, variant="")
        assert made == [shown(model[i]) for i in sorted(model)]
    matcher = Matcher(label, op, value)
    stored = {"http_method": "http.method", "a_b": "a:b"}.get(label, label)
    want = [i for i in sorted(model) if matcher.matches(model[i].get(stored, ""))]
    assert roster.series_ids[roster.matching(rows, matcher, keys)].tolist() == want


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
