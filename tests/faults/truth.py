"""The known truth of a run: which lines were sent in which batch, and which batches were promised.

A batch is a label of its series. Every line counts one, so the answer of a batch is its number of lines. The
lines of an agent are promised when they are acknowledged, in the spool or in a checkpoint. Messages are
promised by an answer 200. Pure: it sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

Route = Literal["tcp", "udp", "messages"]
#: Types of lines; each is sent as often as the others.
TYPES: Final = ("c", "g", "d", "s")
#: Routes through an agent, which alone holds the lines until they are promised.
AGENT_ROUTES: Final[tuple[Route, ...]] = ("tcp", "udp")


class Batch(msgspec.Struct):
    """Lines that became promised together."""

    label: str
    route: Route
    #: Lines of each type.
    lines: int = 0
    promised: bool = False
    #: Whether a process that alone held the lines died before they were promised.
    at_risk: bool = False

    def accepts(self, got: float) -> bool:
        """Return whether an answer agrees with the promise."""
        return 0 <= got <= self.lines if self.at_risk else got == self.lines


class Truth:
    """Batches of one run. `name` begins its metrics; times are in the hour from `start_s`."""

    def __init__(self, name: str, start_s: int) -> None:
        self.name = name
        self.start_s = start_s
        self.batches: dict[str, Batch] = {}
        self._open: dict[Route, Batch] = {}

    @property
    def sent(self) -> int:
        """Lines and messages of all batches."""
        return sum(batch.lines for batch in self.batches.values()) * len(TYPES)

    def lines(self, route: Route, n: int) -> list[str]:
        """Add `4 * n` lines to the open batch and return them."""
        batch, first = self._take(route, n)
        return [
            f"{self.name}.{kind}:{_value(kind, i)}|{kind}|#batch:{batch.label}|T{self._time(i)}"
            for i in range(first, first + n)
            for kind in TYPES
        ]

    def messages(self, n: int) -> list[dict[str, Any]]:
        """Add `4 * n` messages to the open batch and return them."""
        batch, first = self._take("messages", n)
        return [
            {
                "org_id": 1,
                "project_id": 1,
                "name": f"{self.name}.{kind}",
                "timestamp": self._time(i),
                "tags": {"batch": batch.label},
                "type": kind,
                "value": {"c": 1, "g": i, "d": [1], "s": [f"m{i}"]}[kind],
            }
            for i in range(first, first + n)
            for kind in TYPES
        ]

    def promise(self) -> None:
        """Mark all lines so far as promised; later lines are in other batches."""
        for batch in self._open.values():
            batch.promised = True
        self._open.clear()

    def promise_agent(self) -> None:
        """Mark lines of the agent as promised, not messages."""
        for route in AGENT_ROUTES:
            if batch := self._open.pop(route, None):
                batch.promised = True

    def risk(self) -> None:
        """Mark lines of an agent that died and were not promised: they may be lost."""
        for route in AGENT_ROUTES:
            if batch := self._open.pop(route, None):
                batch.at_risk = True

    def wrong(self, kind: str, answer: Mapping[str, float]) -> list[str]:
        """Return a text for each batch whose answer is not what was promised."""
        expected = {
            label: f"batch {label}: {answer.get(label, 0):g} of {b.lines} lines"
            f" ({'may be lost' if b.at_risk else 'promised'})"
            for label, b in self.batches.items()
            if not b.accepts(answer.get(label, 0))
        }
        unknown = [f"batch {label} was never sent" for label in answer.keys() - self.batches.keys()]
        return [f"{self.name}.{kind}: {text}" for text in (*expected.values(), *unknown)]

    def queries(self) -> Iterator[tuple[str, str]]:
        """Yield (type, PromQL) that count the lines of each batch, at the end of the hour."""
        x = f"{self.name.replace('.', '_')}_"
        yield "c", f"sum by (batch) (increase({x}c[1h]))"
        yield "g", f"sum by (batch) (count_over_time({x}g[1h]))"
        yield "d", f"histogram_count(sum by (batch) (increase({x}d[1h])))"
        yield "d", f"histogram_sum(sum by (batch) (increase({x}d[1h])))"
        yield "s", f"sum by (batch) (sum_over_time({x}s[1h]))"

    def _take(self, route: Route, n: int) -> tuple[Batch, int]:
        batch = self._open.get(route)
        if batch is None:
            label = f"{len(self.batches)}-{route}"
            batch = self._open[route] = self.batches[label] = Batch(label, route)
        batch.lines += n
        return batch, batch.lines - n

    def _time(self, i: int) -> int:
        return self.start_s + i * 7 % 3_600


def _value(kind: str, i: int) -> str:
    return {"c": "1", "g": str(i), "d": "1", "s": f"m{i}"}[kind]
