"""Queries as long and as deep as the parser accepts are answered, or refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shim.model.errors import BadData
from shim.promql.query_size import MAX_DEPTH, MAX_OPERATORS
from shim.rules.memory_engine import MemoryEngine
from shim.rules.memory_samples import MemorySamples


@pytest.fixture
def engine() -> Iterator[MemoryEngine]:
    with ThreadPoolExecutor(1) as pool:
        yield MemoryEngine(MemorySamples(), 60_000, pool)


@pytest.mark.parametrize("op", ["+", "^", "* 1 -"])
def test_a_chain_of_operators_is_answered(engine: MemoryEngine, op: str) -> None:
    links = MAX_OPERATORS // len(op.split()[::2])
    ((labels, _),) = engine.query_text("vector(1)" + f" {op} 1" * links, 0)
    assert labels == ()


def test_a_chain_in_every_level_is_refused_in_words(engine: MemoryEngine) -> None:
    inner = "vector(1)" + " + 1" * MAX_OPERATORS
    depth = MAX_DEPTH - 2
    with pytest.raises(BadData, match="nested too deep"):
        engine.query_text("abs(" * depth + inner + ")" * depth, 0)
