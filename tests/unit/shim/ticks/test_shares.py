"""Shares of keys: even, agreed on by all, and moved for those alone who join or leave."""

from __future__ import annotations

from collections import Counter

from shim.ticks.shares import Share, holder_of

KEYS = [f"rules/{n % 50}:1/r.yml;g{n}" for n in range(3_000)]


def test_shares_are_even_and_each_key_is_in_one() -> None:
    members = ("a", "b", "c")
    counts = Counter(holder_of(key, members) for key in KEYS)
    assert set(counts) == set(members)
    assert all(850 < count < 1_150 for count in counts.values())
    shares = [Share(one, members) for one in members]
    assert all(sum(share.has(key) for share in shares) == 1 for key in KEYS)


def test_a_member_that_joins_or_leaves_moves_its_share_alone() -> None:
    before = {key: holder_of(key, ("a", "b")) for key in KEYS}
    after = {key: holder_of(key, ("a", "b", "c")) for key in KEYS}
    assert {after[key] for key in KEYS if after[key] != before[key]} == {"c"}


def test_without_members_no_key_is_of_a_share() -> None:
    assert holder_of("x", ()) is None
    assert not Share("a", ()).has("x")
