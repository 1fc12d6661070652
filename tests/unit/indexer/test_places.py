"""Places of identities: every identity has one of its own, and is made of it again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.write.stored_identities import bit_of, identity_of

NAMES = st.one_of(st.sampled_from(["a", "a/days-3", "1:1/a", "a#", ""]), st.text(max_size=9))
NUMBERS = st.one_of(st.integers(0, 1 << 66), st.integers(0, 200))


@given(name=NAMES, epoch=NUMBERS, sequence=NUMBERS, group=st.one_of(st.none(), st.integers(0, 999)))
def test_an_identity_is_made_of_its_place(name: str, epoch: int, sequence: int, group: int | None) -> None:
    identity = f"{name}/{epoch}/{sequence}" + ("" if group is None else f"/days-{group}")
    assert identity_of(bit_of(identity)) == identity


@given(st.lists(st.text("a/#0123days-", max_size=12), unique=True, max_size=20))
def test_no_two_have_the_same_place(identities: list[str]) -> None:
    assert len({bit_of(identity) for identity in identities}) == len(identities)


@pytest.mark.parametrize(
    ("identity", "place"),
    [
        ("1:1/web/17/130", ("f1:1/web/17", 2, 2)),
        ("1:1/web/17/130/days-5", ("p5/1:1/web/17", 2, 2)),
        ("1:1/web/17/00", ("x1:1/web/17/00", 0, 0)),
    ],
)
def test_places(identity: str, place: tuple[str, int, int]) -> None:
    assert bit_of(identity) == place
