"""The houses of a run, each started when the first of its faults begins."""

from __future__ import annotations

from pathlib import Path

from tests.faults.actors.entrance import Entrance
from tests.faults.actors.processes import House
from tests.faults.actors.up import UpHouse
from tests.faults.faults import FAULTS


class Houses:
    """At most one house of each kind, in `folder`. `batching`: of the indexer in the house of parts."""

    def __init__(self, folder: Path, batching: str = "frame") -> None:
        self._folder, self._batching = folder, batching
        self._started: dict[str, Entrance] = {}

    def of(self, fault: str) -> Entrance:
        """Return the house in which a fault happens."""
        kind = FAULTS[fault].kind
        if kind not in self._started:
            folder = self._folder / kind
            house: Entrance = UpHouse(folder) if kind == "up" else House(folder, self._batching)
            self._started[kind] = house
            house.start()
        return self._started[kind]

    def clear(self) -> None:
        """End all."""
        for house in self._started.values():
            house.clear()
