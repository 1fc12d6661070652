"""The known truth of a run: which lines were sent in which batch, and which batches were promised.

A batch is a label of its series. Every line counts one, so the answer of a batch is its number of lines. The
lines of an agent are promised when they are acknowledged, in the spool or in a checkpoint. Messages are
promised by an answer 200. Live lines have no time: they go to the open bucket. Pure: it sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

Route = Literal["tcp", "udp", "live", "messages"]
#: Types of lines; each is sent as often as the others.
TYPES: Final = ("c", "g", "d", "s")
#: Routes through an agent, which alone holds the lines until they are promised.
AGENT_ROUTES: Final[tuple[Route, ...]] = ("tcp", "udp", "live")
#: Lines without `|T` have the time at which they are read, so an answer about them needs another window.
_LIVE_S: Final = 4 * 3_600
#: An answer about them is asked for so far ahead: clocks step back and are put right.
_LIVE_AHEAD_S: Final = 3_660


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


class Question(msgspec.Struct, frozen=True):
    """PromQL that counts the lines of one type by batch, at one time."""

    kind: str
    query: str
    at: float
    live: bool


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
        """Add `4 * n` lines to the open batch and return them; live ones say no time."""
        batch, first = self._take(route, n)
        return [
            f"{self._metric(route)}.{kind}:{_value(kind, i)}|{kind}|#batch:{batch.label}"
            + ("" if route == "live" else f"|T{self._time(i)}")
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

    def wrong(self, kind: str, answer: Mapping[str, float], *, live: bool = False) -> list[str]:
        """Return a text for each batch, of those with a time or of live ones, that is not as promised."""
        batches = {k: b for k, b in self.batches.items() if (b.route == "live") == live}
        expected = {
            label: f"batch {label}: {answer.get(label, 0):g} of {b.lines} lines"
            f" ({'may be lost' if b.at_risk else 'promised'})"
            for label, b in batches.items()
            if not b.accepts(answer.get(label, 0))
        }
        unknown = [f"batch {label} was never sent" for label in answer.keys() - batches.keys()]
        name = self._metric("live" if live else "tcp")
        return [f"{name}.{kind}: {text}" for text in (*expected.values(), *unknown)]

    def questions(self, now_s: float) -> Iterator[Question]:
        """Yield questions that count the lines of each batch."""
        for live in (False, True):
            x = f"{self._metric('live' if live else 'tcp').replace('.', '_')}_"
            range_s, at = (_LIVE_S, now_s + _LIVE_AHEAD_S) if live else (3_600, self.start_s + 3_600)
            for kind, query in _queries(x, range_s):
                yield Question(kind, query, at, live)

    def _take(self, route: Route, n: int) -> tuple[Batch, int]:
        batch = self._open.get(route)
        if batch is None:
            label = f"{len(self.batches)}-{route}"
            batch = self._open[route] = self.batches[label] = Batch(label, route)
        batch.lines += n
        return batch, batch.lines - n

    def _metric(self, route: Route) -> str:
        return f"{self.name}.live" if route == "live" else self.name

    def _time(self, i: int) -> int:
        return self.start_s + i * 7 % 3_600


def _value(kind: str, i: int) -> str:
    return {"c": "1", "g": str(i), "d": "1", "s": f"m{i}"}[kind]


def _queries(x: str, range_s: int) -> Iterator[tuple[str, str]]:
    yield "c", f"sum by (batch) (increase({x}c[{range_s}s]))"
    yield "g", f"sum by (batch) (count_over_time({x}g[{range_s}s]))"
    yield "d", f"histogram_count(sum by (batch) (increase({x}d[{range_s}s])))"
    yield "d", f"histogram_sum(sum by (batch) (increase({x}d[{range_s}s])))"
    yield "s", f"sum by (batch) (sum_over_time({x}s[{range_s}s]))"
