"""A series index that grows is the one that is made anew."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shim.catalog.names import make_key, reserved_labels
from shim.catalog.series_index import empty
from shim.model.labels import Labels
from shim.model.matchers import Matcher, MatchOp
from tests.unit.shim.catalog.test_series_index import KEYS, Model, add

series = st.dictionaries(
    st.integers(1, 2**64 - 1),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["", "a", "b", "ab"])),
    max_size=12,
)


ops: st.SearchStrategy[MatchOp] = st.sampled_from(["=", "!=", "=~", "!~"])


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
