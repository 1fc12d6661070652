"""The option that rewrites golden files: `pytest tests/golden --update-golden`, then read the diff."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    # The default is for runs that name no path below tests/golden: the option is not known there.
    return bool(request.config.getoption("--update-golden", default=False))
