"""The memory that forgets: by age, and by its bound."""

from __future__ import annotations

import pytest

from agent.aggregate.generational_cache import GenerationalCache


def test_keeps_what_is_used() -> None:
    memory: GenerationalCache[str, int] = GenerationalCache(100, keep_ms=10)
    memory.tick(1_000)
    memory.put("used", 1)
    memory.put("unused", 2)
    for now_ms in range(1_010, 1_100, 10):
        memory.tick(now_ms)
        assert memory.get("used") == 1
    assert memory.get("unused") is None
    assert memory.evicted == 0


@pytest.mark.parametrize("put_ms", range(120, 130))
def test_keeps_for_at_least_its_time(put_ms: int) -> None:
    memory: GenerationalCache[str, int] = GenerationalCache(100, keep_ms=10)
    for now_ms in range(100, put_ms + 10):
        memory.tick(now_ms)
        if now_ms == put_ms:
            memory.put("x", 1)
    assert memory.get("x") == 1


def test_bound() -> None:
    memory: GenerationalCache[int, int] = GenerationalCache(10, keep_ms=1_000)
    for i in range(1_000):
        memory.put(i, i)
        assert len(memory) <= 20
    assert memory.evicted + len(memory) == 1_000
    assert memory.get(999) == 999
    assert memory.get(0) is None


def test_a_clock_set_back_forgets_nothing() -> None:
    memory: GenerationalCache[str, int] = GenerationalCache(10, keep_ms=10)
    memory.tick(1_000_000)
    memory.put("x", 1)
    memory.tick(5)
    memory.tick(14)
    assert memory.get("x") == 1
