"""The live status of `meterhouse up`: lines, refused lines, series, rows, queries, disk.

`parts` and `fitted` are pure; `StatusLine` scrapes the agent and asks the indexer, and writes to a terminal
once a second, elsewhere a plain line once a minute.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import ssl
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

from indexer.status import Status

PERIOD_S: Final = 1.0
#: Where nothing is rewritten: not a terminal.
PLAIN_PERIOD_S: Final = 60.0
#: The agent's metric of received lines.
LINES: Final = "meterhouse_agent_lines_total"
REFUSED: Final = "meterhouse_agent_bad_lines_total"
UNSENT: Final = "meterhouse_agent_unsent_bytes"
DROPPED: Final = "meterhouse_agent_kernel_dropped_packets_total"
_SEPARATOR: Final = " | "
#: Between two looks at the files of the data.
_DISK_PERIOD_S: Final = 30.0


class Scraped(NamedTuple):
    """StatusNumbers of the agent, since its start. `refused_for`: the reason of the most refused lines."""

    lines: float = 0.0
    unsent_bytes: float = 0.0
    dropped_packets: float = 0.0
    refused: float = 0.0
    refused_for: str = ""


class StatusPart(NamedTuple):
    """A part of the line. Where the width is short, those of the highest `rank` are left out first."""

    rank: int
    text: str


class StatusNumbers(NamedTuple):
    """The numbers of one line; rates are of the last period."""

    lines_per_s: float
    queries_per_s: float
    agent: Scraped
    status: Status
    disk_bytes: int | None = None


def parts(numbers: StatusNumbers, now_s: float, fix: str = "") -> list[StatusPart]:
    """Return the parts of the line. `fix` is the setting that helps when the kernel drops packets."""
    agent, status = numbers.agent, numbers.status
    flushed = f"{now_s - status.last_write_s:.0f} s ago" if status.last_write_s else "not yet"
    out = [StatusPart(2, f"{numbers.lines_per_s:,.0f} lines/s"), StatusPart(4, f"{status.series:,} series")]
    out += [StatusPart(5, f"{status.rows:,} rows written"), StatusPart(3, f"last flush {flushed}")]
    if agent.refused:
        out.append(StatusPart(0, f"{agent.refused:,.0f} lines refused ({agent.refused_for})"))
    if agent.unsent_bytes >= 1e5:
        out.append(StatusPart(1, f"{agent.unsent_bytes / 1e6:.1f} MB unsent"))
    out.append(StatusPart(6, f"{numbers.queries_per_s:.3g} queries/s"))
    if numbers.disk_bytes is not None:
        out.append(StatusPart(7, f"disk {numbers.disk_bytes / 1e6:,.1f} MB"))
    if agent.dropped_packets:
        out.append(StatusPart(0, f"the kernel dropped {agent.dropped_packets:,.0f} packets: {fix}"))
    return out


def fitted(line: Sequence[StatusPart], width: int) -> str:
    """Join the parts that fit into `width` characters; a problem that does not fit is cut."""
    kept = list(line)
    while len(kept) > 1 and len(_joined(kept)) > width:
        kept.remove(max(reversed(kept), key=lambda part: part.rank))
    text = _joined(kept)
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def _joined(line: Sequence[StatusPart]) -> str:
    return _SEPARATOR.join(part.text for part in line)


def scrape(text: str) -> Scraped:
    """Read the numbers from the agent's metrics."""
    sums = {LINES: 0.0, UNSENT: 0.0, DROPPED: 0.0}
    refused: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in sums:
                sums[sample.name] += sample.value
            elif sample.name == REFUSED:
                refused[sample.labels["reason"]] += sample.value
    total = sum(refused.values())
    reason = max(refused, key=lambda name: refused[name]) if total else ""
    return Scraped(sums[LINES], sums[UNSENT], sums[DROPPED], total, reason)


def queries_of(requests: Counter) -> float:
    """Return the number of queries among the requests of the API."""
    return sum(
        sample.value
        for family in requests.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and "query" in sample.labels["endpoint"]
    )


def size_of(directory: Path) -> int:
    """Return the bytes of all files below; those that vanish meanwhile count nothing."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += os.lstat(f"{folder}/{name}").st_size
    return total


class StatusLine:
    """Writes the status until cancelled. A scrape that fails is shown as no news.

    `queries`: requests of the API since its start. `disk_bytes`: the size of the data; it runs in a thread.
    """

    def __init__(
        self,
        metrics_url: str,
        status: Callable[[], Status],
        out: TextIO,
        context: ssl.SSLContext | None = None,
        fix: Callable[[], str] = lambda: "",
        queries: Callable[[], float] = lambda: 0.0,
        disk_bytes: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._fix = fix
        self._url = metrics_url
        self._context = context
        self._status = status
        self._out = out
        self._queries = queries
        self._disk = disk_bytes
        self._disk_bytes: int | None = None
        self._disk_at_s = -_DISK_PERIOD_S

    async def run(self) -> None:
        """Rewrite the line of a terminal once a second, or write a line a minute, until cancelled."""
        terminal = self._out.isatty()
        period_s = PERIOD_S if terminal else PLAIN_PERIOD_S
        before, queries, at = await self._scrape(), self._queries(), time.monotonic()
        try:
            while True:
                await asyncio.sleep(period_s)
                got, asked, now = await self._scrape(), self._queries(), time.monotonic()
                rate = (got.lines - before.lines) / (now - at) if got and before else 0.0
                numbers = StatusNumbers(
                    rate,
                    (asked - queries) / (now - at),
                    got or Scraped(),
                    self._status(),
                    await self._size(now),
                )
                self._write(parts(numbers, time.time(), self._fix()), terminal=terminal)
                before, queries, at = got, asked, now
        finally:
            if terminal:
                self._out.write("\r\x1b[K")
                self._out.flush()

    def _write(self, line: Sequence[StatusPart], *, terminal: bool) -> None:
        if terminal:
            width = os.get_terminal_size(self._out.fileno()).columns - 1  # a full line may wrap
            self._out.write(f"\r\x1b[K{fitted(line, width)}\r")  # a line of the log then begins at the left
        else:
            self._out.write(f"meterhouse: {_joined(line)}\n")
        self._out.flush()

    async def _size(self, now_s: float) -> int | None:
        if now_s - self._disk_at_s >= _DISK_PERIOD_S:
            self._disk_at_s = now_s
            self._disk_bytes = await asyncio.to_thread(self._disk)
        return self._disk_bytes

    async def _scrape(self) -> Scraped | None:
        try:
            return scrape(await asyncio.to_thread(self._get))
        except (OSError, http.client.HTTPException, ValueError):  # an agent that dies cuts its answer off
            return None

    def _get(self) -> str:
        # Our own agent, by http or https.
        with urllib.request.urlopen(self._url, timeout=1, context=self._context) as response:  # noqa: S310
            return str(response.read(), "utf-8")
