from __future__ import annotations

import numpy as np

from indexer.intern.series import (
    MAX_CHANGED_METRICS,
    MAX_CHANGES,
    Change,
    Project,
    SeriesRegistry,
    mix,
    series_ids,
    tag_sums,
)


def u64(*values: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(values, np.uint64)


def ids_of(
    tags: list[list[tuple[int, int]]], *, org: int = 1, project: int = 1, kind: int = 1, metric: int = 9
) -> list[int]:
    flat = [p for row in tags for p in row]
    sums = tag_sums(
        np.array([len(r) for r in tags], "u2"), u64(*(k for k, _ in flat)), u64(*(v for _, v in flat))
    )
    ids: list[int] = series_ids(org, project, kind, np.full(len(tags), metric, np.uint64), sums).tolist()
    return ids


def test_order_of_tags_is_nothing() -> None:
    a, b = ids_of([[(1, 2), (3, 4)], [(3, 4), (1, 2)]])
    assert a == b


def test_everything_else_is() -> None:
    tags = [[], [(1, 2)], [(2, 1)], [(1, 2), (3, 4)], [(1, 4), (3, 2)], [(1, 2), (1, 2)]]
    ids = ids_of(tags)
    for change in ({"org": 2}, {"project": 2}, {"kind": 2}, {"metric": 10}):
        ids += ids_of(tags, **change)
    assert len(set(ids)) == len(ids)
    assert 0 not in ids


def test_org_and_project_are_not_mixed_up() -> None:
    assert ids_of([[]], org=1, project=2) != ids_of([[]], org=2, project=1)


def test_ids_never_change() -> None:
    """They are stored: another formula would make every series a second one."""
    assert ids_of([[(5, 6), (7, 8)], []]) == GOLDEN_IDS


GOLDEN_IDS = [1210829108444429510, 6881100722629708341]


def test_mix_is_one_to_one_on_small_numbers() -> None:
    assert len(set(mix(np.arange(100_000, dtype=np.uint64)).tolist())) == 100_000


def test_a_hundred_thousand_series_have_as_many_ids() -> None:
    n = 100_000
    keys, values = np.tile(u64(1, 2), n), np.arange(2 * n, dtype=np.uint64) // 3
    sums = tag_sums(np.full(n, 2, "u2"), keys, values)
    assert len(np.unique(series_ids(1, 1, 1, np.full(n, 3, np.uint64), sums))) == len(
        {tuple(values[i * 2 : i * 2 + 2].tolist()) for i in range(n)}
    )


ONE, TWO = Project(1, 1), Project(2, 1)


def test_registry_knows_what_was_registered() -> None:
    registry = SeriesRegistry(100)
    assert registry.unknown(ONE, 1, u64(5, 6)).tolist() == [True, True]
    registry.register(ONE, 1, u64(6, 4, 6), u64(1, 1, 1))
    assert registry.unknown(ONE, 1, u64(5, 6, 4, 9, 1)).tolist() == [True, False, False, True, True]
    assert registry.unknown(ONE, 2, u64(6)).tolist() == [True]
    registry.register(ONE, 1, u64(5), u64(1))
    assert registry.unknown(ONE, 1, u64(5, 6, 4)).tolist() == [False] * 3
    assert len(registry) == 3


def test_newest_has_some_of_each_registration() -> None:
    registry = SeriesRegistry(1_000)
    registry.register(ONE, 1, u64(3, 1, 2), u64(1, 1, 1))
    assert registry.newest() == [(ONE, 1, 1), (ONE, 1, 2), (ONE, 1, 3)]
    registry.register(TWO, 1, np.arange(1, 101, dtype=np.uint64), np.ones(100, np.uint64))
    assert registry.newest()[3:] == [(TWO, 1, n) for n in range(1, 101, 4)]


def test_version_rises_with_every_registration_only() -> None:
    registry = SeriesRegistry(100)
    registry.register(ONE, 1, u64(5), u64(1))
    registry.register(ONE, 1, u64(), u64())
    registry.unknown(ONE, 1, u64(5))
    assert registry.version == 1
    registry.register(ONE, 2, u64(5), u64(1))
    assert registry.version == 2


def test_changes_since_a_version_are_remembered() -> None:
    registry = SeriesRegistry(100)
    registry.register(ONE, 1, u64(5, 6), u64(8, 8))
    registry.register(TWO, 2, u64(5, 6), u64(8, 9))
    first, second = Change(ONE, 1, frozenset({8})), Change(TWO, 2, frozenset({8, 9}))
    assert registry.changes(2) == []
    assert registry.changes(1) == [second]
    assert registry.changes(0) == [second, first]
    registry.forget()
    assert registry.changes(2) is None
    assert registry.changes(3) == []


def test_changes_are_bounded() -> None:
    registry = SeriesRegistry(100)
    for _ in range(MAX_CHANGES + 1):
        registry.register(ONE, 1, u64(5), u64(8))
    assert registry.changes(0) is None
    assert len(registry.changes(1) or ()) == MAX_CHANGES
    registry.register(ONE, 1, u64(5), np.arange(MAX_CHANGED_METRICS, dtype=np.uint64))
    assert registry.changes(registry.version - 2) is None
    assert len(registry.changes(registry.version - 1) or ()) == 1
    registry.register(ONE, 1, u64(5), np.arange(MAX_CHANGED_METRICS + 1, dtype=np.uint64))
    assert registry.changes(registry.version - 1) is None


def test_registry_forgets_the_oldest_days_at_its_bound() -> None:
    registry = SeriesRegistry(10)
    for day in (3, 1, 2):
        registry.register(ONE, day, np.arange(5, dtype=np.uint64), u64(1))
        assert len(registry) <= 10
    assert registry.unknown(ONE, 1, u64(1)).all()
    assert not registry.unknown(ONE, 3, u64(1)).any()
    assert registry.forgotten == 5
    registry.register(ONE, 9, np.arange(11, dtype=np.uint64), u64(1))
    assert len(registry) == 0


def test_registry_keeps_tenants_apart() -> None:
    registry = SeriesRegistry(100)
    registry.register(TWO, 1, u64(5), u64(1))
    registry.register(Project(1, 2), 1, u64(6), u64(1))
    assert registry.unknown(ONE, 1, u64(5, 6)).tolist() == [True, True]
    assert registry.unknown(TWO, 1, u64(5, 6)).tolist() == [False, True]


def test_registry_forgets_first_of_the_tenant_with_most() -> None:
    registry = SeriesRegistry(10)
    registry.register(ONE, 1, u64(1, 2), u64(1))
    for day in range(2, 9):
        registry.register(TWO, day, np.arange(4, dtype=np.uint64), u64(1))
        assert len(registry) <= 10
    assert not registry.unknown(ONE, 1, u64(1, 2)).any()
    assert not registry.unknown(TWO, 8, u64(3)).any()
