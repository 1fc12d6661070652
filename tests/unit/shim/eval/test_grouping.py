"""Groups of series by labels at the same places: as label by label."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shim.eval.grouping import by_columns, group_labels
from shim.model.labels import dropping_name, make, of_set

NAMES = st.lists(st.sampled_from(["a", "b", "c", "__name__"]), unique=True, min_size=1, max_size=3)
LABELS = st.dictionaries(st.sampled_from(["__name__", "a", "b", "c", "d"]), st.sampled_from("xy"))


@given(
    st.lists(st.one_of(LABELS, st.fixed_dictionaries({n: st.sampled_from("xyz") for n in "ab"})), max_size=6),
    NAMES,
    st.sampled_from([dropping_name, of_set, lambda labels: labels]),
)
def test_columns_group_as_labels_do(sets: list[dict[str, str]], names: list[str], mark: object) -> None:
    assert callable(mark)
    labels = [mark(make(one)) for one in sets]
    found = by_columns(labels, frozenset(names))
    if found is None:
        return
    owner, groups = found
    want = [group_labels(one, names, without=False) for one in labels]
    assert [groups[i] for i in owner.tolist()] == want
    assert groups == list(dict.fromkeys(want))


def test_where_columns_serve() -> None:
    alike = [make({"__name__": "m", "a": str(i % 2), "b": str(i)}) for i in range(4)]
    found = by_columns(alike, {"a"})
    assert found is not None
    assert np.array_equal(found[0], [0, 1, 0, 1])
    assert found[1] == [(("a", "0"),), (("a", "1"),)]
    for labels, names in (
        ([], {"a"}),
        (alike, {"c"}),
        (alike, {"a", "c"}),
        (alike, {"__name__", "a"}),
        ([*alike, make({"a": "1"})], {"a"}),
        ([*alike, ()], {"a"}),
    ):
        assert by_columns(labels, names) is None
