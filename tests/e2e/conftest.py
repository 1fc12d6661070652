"""Processes for end-to-end tests. All of them are gone when a test ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.product import Starter, Up
from tests.support.two_shards import ready_product


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One running product that tests share; each uses metric names of its own."""
    with ready_product(tmp_path_factory.mktemp("product")) as up:
        yield up


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Start processes in a folder of this test; those still running after the test are killed."""
    starter = Starter(tmp_path)
    try:
        yield starter
    finally:
        starter.clear()
