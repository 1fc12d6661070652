"""The bounded memory."""

from __future__ import annotations

from shim.catalog.lru_cache import LruDict


def test_the_least_used_goes_first() -> None:
    memory: LruDict[str, int] = LruDict(2)
    memory.put("a", 1)
    memory.put("b", 2)
    assert memory.get("a") == 1
    memory.put("c", 3)
    assert [memory.get(k) for k in "abc"] == [1, None, 3]
    memory.put("c", 4)
    assert (memory.get("c"), len(memory)) == (4, 2)


def test_weight_is_bounded_too() -> None:
    memory: LruDict[str, int] = LruDict(100, max_weight=10)
    for i in range(20):
        memory.put(str(i), i, weight=4)
        assert len(memory) <= 2
    memory.put("19", 19, weight=6)
    assert len(memory) == 2
    memory.put("large", 0, weight=11)
    assert len(memory) == 0
    memory.put("small", 1, weight=10)
    assert memory.get("small") == 1
