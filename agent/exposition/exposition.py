"""The exposition as a whole: frames in, answers to scrapes out.

Owns how many scrapes are answered at once, and that an answer is made in pieces: it needs little memory, and
other threads run in between. Frames come from the agent's loop, scrapes from threads of its HTTP port.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from typing import Final

import msgspec

from agent.exposition.accepted_format import accepted_format, takes_gzip
from agent.exposition.cumulative_state import CumulativeState
from agent.exposition.described_metrics import DescribedMetrics
from agent.exposition.protobuf_format import protobuf_of
from agent.exposition.shown_families import families_of
from agent.exposition.text_format import text_of
from agent.settings import AgentSettings
from agent.wire.frame import Frame

#: Scrapes answered at once; further ones are refused.
MAX_SCRAPES: Final = 2
#: Bytes gathered until they are sent.
_SENT_AT_ONCE: Final = 64 << 10
#: Half the time of the default level, for a tenth more bytes.
_GZIP_LEVEL: Final = 1
_GZIP_WINDOW: Final = 31  # zlib's number for gzip


class ScrapeAnswer(msgspec.Struct, frozen=True):
    """An answer: its type and encoding, and its body in pieces. `close` ends it."""

    content_type: str
    encoding: str
    body: Generator[bytes]


class Exposition:
    """See the module. Counters are plain numbers for agent/telemetry/metrics.py."""

    def __init__(self, settings: AgentSettings, ttl_s: float | None = None) -> None:
        """`ttl_s`: the default of the mapping file, which precedes the setting."""
        utf8 = settings.exposition_names == "utf8"
        self._ttl_s = settings.exposition_ttl_s
        self.described = DescribedMetrics(self._lifetime_s(ttl_s), utf8=utf8)
        self.state = CumulativeState(
            max_series=settings.exposition_max_series,
            max_entries=settings.aggregate.max_entries,
            lifetime_s=self.described.lifetime_s,
            started_s=time.time(),
            static=settings.tags,
            utf8=utf8,
        )
        self.scrapes: Counter[str] = Counter()  # by outcome
        self._free = threading.BoundedSemaphore(MAX_SCRAPES)

    def forget_descriptions(self, ttl_s: float | None) -> None:
        """Forget all that a mapping file said of metrics; `ttl_s`: the default of the file after it."""
        self.described.forget(self._lifetime_s(ttl_s))

    def _lifetime_s(self, ttl_s: float | None) -> float:
        return self._ttl_s if ttl_s is None else ttl_s

    def fold(self, frame: Frame) -> None:
        """Add the rows of a frame."""
        self.state.fold(frame, time.monotonic())

    def publish(self) -> None:
        """Show all rows folded so far to scrapes."""
        self.state.publish(time.monotonic(), time.time())

    def answer(self, headers: Mapping[str, str]) -> ScrapeAnswer | None:
        """Answer a scrape by its headers (names in lower case); None if too many are being answered.

        The body must be read to its end or closed.
        """
        if not self._free.acquire(blocking=False):
            self.scrapes["refused"] += 1
            return None
        wanted = accepted_format(headers.get("accept", ""))
        gzip = takes_gzip(headers.get("accept-encoding", ""))
        pieces = self._pieces(wanted.format, utf8=wanted.utf8)
        body = self._counted(_gathered(_zipped(pieces) if gzip else pieces))
        next(body)  # from here on its end releases the place
        return ScrapeAnswer(wanted.content_type, "gzip" if gzip else "", body)

    def _pieces(self, format_: str, *, utf8: bool) -> Iterator[bytes]:
        families = families_of(self.state.published, self.described.described)
        if format_ == "protobuf":
            yield from protobuf_of(families, utf8=utf8)
        else:
            yield from text_of(families, openmetrics=format_ == "openmetrics", utf8=utf8)

    def _counted(self, body: Iterator[bytes]) -> Generator[bytes]:
        outcome = "broken_off"
        try:
            yield b""
            yield from body
            outcome = "answered"
        finally:
            self.scrapes[outcome] += 1
            self._free.release()


def _zipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces; none is empty."""
    held, size = list[bytes](), 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _SENT_AT_ONCE:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)
