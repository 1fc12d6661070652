"""The live status line of `meterhouse up`: received lines, stored rows, series.

`line` is pure; `StatusLine` scrapes the agent and asks the indexer once a second, and writes to a terminal.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import urllib.request
from collections.abc import Callable
from typing import Final, NamedTuple, TextIO

from prometheus_client.parser import text_string_to_metric_families

from indexer.service import Status

PERIOD_S: Final = 1.0
#: The agent's metric of received lines.
LINES: Final = "meterhouse_agent_lines_total"
UNSENT: Final = "meterhouse_agent_unsent_bytes"
DROPPED: Final = "meterhouse_agent_kernel_dropped_packets_total"


class Scraped(NamedTuple):
    """Numbers of the agent, since its start."""

    lines: float = 0.0
    unsent_bytes: float = 0.0
    dropped_packets: float = 0.0


def line(lines_per_s: float, agent: Scraped, status: Status, now_s: float, fix: str = "") -> str:
    """Format one line of status. `fix` is the setting that helps when the kernel drops packets."""
    flushed = f"{now_s - status.last_write_s:.0f} s ago" if status.last_write_s else "not yet"
    waiting = f" | {agent.unsent_bytes / 1e6:.1f} MB unsent" if agent.unsent_bytes >= 1e5 else ""
    dropped = (
        f" | the kernel dropped {agent.dropped_packets:,.0f} packets: {fix}" if agent.dropped_packets else ""
    )
    return (
        f"{lines_per_s:,.0f} lines/s | {status.series:,} series | {status.rows:,} rows written"
        f" | last flush {flushed}{waiting}{dropped}"
    )


def scrape(text: str) -> Scraped:
    """Read the numbers from the agent's metrics."""
    sums = {LINES: 0.0, UNSENT: 0.0, DROPPED: 0.0}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in sums:
                sums[sample.name] += sample.value
    return Scraped(sums[LINES], sums[UNSENT], sums[DROPPED])


class StatusLine:
    """Rewrites one line of a terminal until cancelled. A scrape that fails is shown as no news."""

    def __init__(
        self,
        metrics_url: str,
        status: Callable[[], Status],
        out: TextIO,
        context: ssl.SSLContext | None = None,
        fix: Callable[[], str] = lambda: "",
    ) -> None:
        self._fix = fix
        self._url = metrics_url
        self._context = context
        self._status = status
        self._out = out

    async def run(self) -> None:
        """Write the line once a second until cancelled."""
        before, at = await self._scrape(), time.monotonic()
        try:
            while True:
                await asyncio.sleep(PERIOD_S)
                got, now = await self._scrape(), time.monotonic()
                rate = (got.lines - before.lines) / (now - at) if got and before else 0.0
                text = line(rate, got or Scraped(), self._status(), time.time(), self._fix())
                self._out.write(f"\r\x1b[K{text}")
                self._out.flush()
                before, at = got, now
        finally:
            self._out.write("\r\x1b[K")
            self._out.flush()

    async def _scrape(self) -> Scraped | None:
        try:
            return scrape(await asyncio.to_thread(self._get))
        except (OSError, ValueError):
            return None

    def _get(self) -> str:
        # Our own agent, by http or https.
        with urllib.request.urlopen(self._url, timeout=1, context=self._context) as response:  # noqa: S310
            return str(response.read(), "utf-8")
