"""One test for each fault: everything promised is stored exactly once, and nothing else is stored.

`python -m tests.faults` runs all faults for as long as it is told.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.actors.clients import past_hour
from tests.faults.faults import FAULTS, LONG_RUN_ONLY
from tests.faults.houses import Houses
from tests.faults.run import run
from tests.faults.schedule import around
from tests.faults.truth import Truth

pytestmark = [pytest.mark.e2e, pytest.mark.long]

SEED = 11


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Houses]:
    """One house of each kind for all faults: each ends healed, and has metrics of its own."""
    houses = Houses(tmp_path_factory.mktemp("faults"))
    try:
        yield houses
    finally:
        houses.clear()


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in LONG_RUN_ONLY])
def test_exactly_what_was_promised(houses: Houses, fault: str) -> None:
    house = houses.of(fault)
    if reason := FAULTS[fault].missing(house):
        pytest.skip(f"{fault}: {reason}")
    run(house, Truth(fault, past_hour()), around(fault, SEED))
