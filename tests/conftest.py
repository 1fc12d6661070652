"""Fixtures that every kind of test may use."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["tests.support.chdb", "tests.support.redis_server"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files that have a test marked `long`: at the end, other workers would wait for it."""
    files = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in files)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    """Remove a developer's METERHOUSE_... variables, which must not change the tests."""
    for name in [n for n in os.environ if n.startswith("METERHOUSE_")]:
        del os.environ[name]
