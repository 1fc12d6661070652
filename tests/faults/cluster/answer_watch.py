"""Asks a shim all the time: an answer never exceeds the truth, and never goes back.

Answers about a bucket that ended SETTLED_S ago are complete but for rows that agents still hold, so they
only grow. The answer of now may be cut at the live edge: it is at least one about SETTLED_S ago. While an
INSERT is under way its rows may be in one rollup and not yet in another (docs/clickhouse.md), so an answer
that went back is asked for again for _BRIEF_S.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from tests.e2e.product import get

SETTLED_S: Final = 30
_EVERY_S: Final = 1.0
_TIMEOUT_S: Final = 60.0
_BRIEF_S: Final = 30.0

#: The number of rows or lines of each type of a metric `{m}`, over `[{w}]`.
QUERIES: Final[Mapping[str, str]] = {
    "c": "increase({m}_c[{w}])",
    "g": "count_over_time({m}_g[{w}])",
    "d": "increase({m}_d[{w}])",
    "s": "sum_over_time({m}_s[{w}])",
}


def counting(kind: str, metric: str, window: str, by: str = "") -> str:
    """Return PromQL that counts the rows of a kind."""
    inner = f"sum{f' by ({by})' if by else ''} ({QUERIES[kind].format(m=metric, w=window)})"
    return f"histogram_count({inner})" if kind == "d" else inner


def ask(url: str, query: str, at_s: float) -> float | str:
    """Return the value of a query without labels, 0 without a series; a text without an answer."""
    parameters = urllib.parse.urlencode({"query": query, "time": at_s})
    status, body = get(f"{url}/api/v1/query?{parameters}", _TIMEOUT_S)
    if status != 200:
        return f"{status} {body[:150].decode(errors='replace')}"
    result = json.loads(body)["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


class AnswerWatch:
    """Watches one shim in a thread. `sent`: rows or lines of each metric that were sent, by metric."""

    def __init__(self, url: str, sent: Mapping[str, Callable[[], int]], window: str) -> None:
        self._url, self._sent, self._window = url, sent, window
        self._best: dict[tuple[str, str], float] = {}
        self.asked = 0
        self.unanswered: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.briefly_back = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start asking."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present question."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            all(self._look(metric, kind) for metric in self._sent for kind in QUERIES)

    def _look(self, metric: str, kind: str) -> bool:
        """Ask about one type of a metric; return whether the shim answered."""
        query = counting(kind, metric, self._window)
        now_s = time.time()
        for at_s, settled in ((now_s, False), ((now_s - SETTLED_S) // 10 * 10, True)):
            value = ask(self._url, query, at_s)
            sent = self._sent[metric]()
            self.asked += 1
            if isinstance(value, str):
                self.unanswered[value] += 1
                return False
            best = self._best.get((metric, kind), 0.0)
            where = f"{self._url} at {at_s:.0f}: {query} is {value:g}"
            if value > sent:
                self.wrong.append(f"{where}, and {sent} were sent")
            if value < best and not self._comes_back(query, at_s, best):
                self.wrong.append(f"{where}, and was {best:g} about {SETTLED_S} s before")
            if settled:
                self._best[metric, kind] = max(best, value)
        return True

    def _comes_back(self, query: str, at_s: float, best: float) -> bool:
        """Return whether an answer soon reaches its former value again."""
        self.briefly_back += 1
        end = time.monotonic() + _BRIEF_S
        while time.monotonic() < end and not self._stopped.wait(0.5):
            value = ask(self._url, query, at_s)
            if not isinstance(value, str) and value >= best:
                return True
        return self._stopped.is_set()
