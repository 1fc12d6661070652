"""Lines of tests through a real core, as a state that a scrape shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from agent.exposition.cumulative_state import CumulativeState
from agent.exposition.shown_families import ShownFamily, families_of
from agent.exposition.text_format import text_of
from agent.settings import AgentSettings
from agent.wire.frame import Sender
from agent.wire.metadata import MetricDescription
from tests.support.cores.rows import new_core

#: Start of a bucket, in seconds.
T: Final = 1_700_000_000
Described = Mapping[str, MetricDescription]


class Folded:
    """A state, and the core whose frames it folds. Times are seconds after T."""

    def __init__(self, core: str = "python", **options: Any) -> None:
        self._core = new_core(core, AgentSettings())
        self._sequence = 0
        named: dict[str, Any] = {
            "max_series": 1_000, "max_entries": 10_000, "lifetime_s": lambda _: math.inf, "started_s": 0.0,
            **options,
        }  # fmt: skip
        self.state = CumulativeState(**named)

    def add(self, *lines: str, at_s: float = 0.0, rows: int = 1_000) -> Folded:
        """Fold lines that arrive at `at_s`, each call as a flush; then publish."""
        self.fold(*lines, at_s=at_s, rows=rows)
        self.state.publish(at_s, T + at_s)
        return self

    def fold(self, *lines: str, at_s: float = 0.0, rows: int = 1_000) -> None:
        """Fold lines without publishing them."""
        now_ms = round((T + at_s) * 1_000)
        self._core.add("\n".join(lines).encode(), now_ms)
        self._core.flush_all(now_ms)
        self._sequence += 1
        while frame := self._core.next_frame(
            Sender(agent="a", epoch=1), self._sequence, now_ms, max_rows=rows, max_bytes=1 << 20
        ):
            self.state.fold(frame, at_s)

    def families(self, described: Described | None = None) -> list[ShownFamily]:
        """Return the published families."""
        found = described or {}
        return families_of(self.state.published, lambda name: found.get(name, MetricDescription()))

    def text(
        self, *, openmetrics: bool = False, utf8: bool = False, described: Described | None = None
    ) -> str:
        """Return the published text."""
        return b"".join(text_of(self.families(described), openmetrics=openmetrics, utf8=utf8)).decode()

    def lines(self, **options: Any) -> dict[str, float]:
        """Return the samples of the text, by series."""
        found = (line.rpartition(" ") for line in self.text(**options).splitlines() if line[:1] != "#")
        return {series: float(value) for series, _, value in found}


def samples(families: Iterable[Any]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the samples that a parser of prometheus_client found."""
    return {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}
