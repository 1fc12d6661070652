"""The known truth of lines sent to agents that are killed, and a comparison with answers. Pure.

The lines of one agent up to its kill are a generation, a label of its series. Lines that were promised must
be there; those sent since, which only the agent's memory held, may be lost. Each line counts one.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Generation(msgspec.Struct):
    """Lines of each type that one agent got between two kills."""

    promised: int = 0
    unpromised: int = 0


class Difference(msgspec.Struct):
    """Lines that are missing, those too many, and missing ones that no one promised."""

    lost: float = 0
    doubled: float = 0
    excused: float = 0

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled)

    def add(self, got: float, promised: float, unpromised: float = 0) -> None:
        """Compare one count."""
        self.lost += max(0.0, promised - got)
        self.doubled += max(0.0, got - promised - unpromised)
        self.excused += max(0.0, promised + unpromised - max(got, promised))


class LineTruth:
    """The generations of all agents, by agent and number, as texts."""

    def __init__(self) -> None:
        self.generations: dict[tuple[str, str], Generation] = {}
        self._number: dict[str, int] = {}
        #: Lines of each type, which no answer may exceed.
        self.sent = 0

    def label(self, agent: str) -> str:
        """Return the number of an agent's present generation."""
        return str(self._number.get(agent, 0))

    def send(self, agent: str, lines: int) -> None:
        """Note lines of each type before they are sent."""
        self.generations.setdefault((agent, self.label(agent)), Generation()).unpromised += lines
        self.sent += lines

    def promise(self, agent: str) -> None:
        """Note that all lines of an agent are safe."""
        one = self.generations.setdefault((agent, self.label(agent)), Generation())
        one.promised, one.unpromised = one.promised + one.unpromised, 0

    def kill(self, agent: str) -> None:
        """Begin the next generation."""
        self._number[agent] = self._number.get(agent, 0) + 1

    def compare(self, answer: Mapping[tuple[str, str], float]) -> Difference:
        """Return the difference of an answer by agent and generation."""
        found = Difference()
        for key in self.generations.keys() | answer.keys():
            one = self.generations.get(key, Generation())
            found.add(answer.get(key, 0.0), one.promised, one.unpromised)
        return found
