"""Runs one backfill: chunks of a file -> frames -> answers -> the state file.

Owns the identity of its frames: `(org, project, backfill/<hash of the file>, epoch, number of the chunk)`.
All bytes of a frame follow from its chunk, the earlier chunks, the settings, and `created_ms` of the state. A
run that continues another reads the file from its beginning and sends the frames without an answer.

Holds the frames of one request and one chunk at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final, Protocol

import msgspec

from agent.aggregate.aggregator import Aggregator
from agent.aggregate.state import Bucket
from agent.backfill.chunks import Chunk, chunks
from agent.backfill.formats import FORMATS, Format
from agent.backfill.samples import IN_THE_FUTURE, LeftOut, Sample
from agent.backfill.sender import expired_rows
from agent.backfill.state_file import Progress
from agent.core.frame_builder import frame_of
from agent.core.interface import KeyMapper
from agent.forward.channel import Answer, Outcome
from agent.forward.delivery import MAX_BYTES, MAX_FRAMES
from agent.forward.spool.record import EncodedFrame
from agent.protocol.line import Reason
from agent.settings import AgentSettings
from agent.wire.frame import BACKFILL_PREFIX, encode
from agent.wire.frame import Sender as FrameSender

#: Lines of a chunk by epoch, which is a part of all identities. A file keeps the epoch of its first run. If
#: chunks or conversions change, there is a new one. Live frames wait while a chunk is written: 10,000 lines
#: took 0.55 s.
CHUNK_LINES: Final = {1: 10_000, 2: 2_000}
EPOCH: Final = max(CHUNK_LINES)
_HASH_DIGITS: Final = 32
#: Maximum number of bad lines reported individually.
MAX_NAMED: Final = 10
#: A frame whose rows span more goes alone: an org has one turn for frames of many days
#: (indexer/receive/intake.py), which would put off the others of its request.
_WIDE_S: Final = 96 * 86_400


class Sends(Protocol):
    """The interface of agent/backfill/sender.py."""

    def send(self, frames: Sequence[EncodedFrame]) -> list[Answer]:
        """Send frames until each has a final answer."""


class Job:
    """Processes a whole file. `save` stores the progress; `named` receives the first bad lines."""

    def __init__(
        self,
        settings: AgentSettings,
        form: Format,
        progress: Progress,
        sends: Sends,
        *,
        mapper: KeyMapper | None = None,
        save: Callable[[Progress], None],
        named: Callable[[int, str], None],
        cut: Callable[[BinaryIO, int], Iterator[Chunk]] = chunks,
    ) -> None:
        self.progress = progress
        self.lines = 0  # of the file, read in this run
        self.bad: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()  # parts of good lines
        self.overflow_lines = 0  # of series beyond a limit
        self._settings = settings
        self._mapper = mapper
        self._sends = sends
        self._save = save
        self._named = named
        self._cut = cut
        self._newest_ms = progress.created_ms + settings.aggregate.future_s * 1000
        self._converter = FORMATS[form](settings, self._newest_ms)
        self._sender = FrameSender(
            agent=f"{BACKFILL_PREFIX}{progress.sha256[:_HASH_DIGITS]}",
            epoch=progress.epoch,
            org_id=settings.org_id,
            project_id=settings.project_id,
            retention_days=settings.retention_days,
        )

    def run(self, file: BinaryIO) -> Iterator[None]:
        """Send a whole file; yields after each chunk. Raises OSError, EOFError, zlib.error of reading it."""
        waiting: list[EncodedFrame] = []
        last = 0
        for chunk in self._cut(file, CHUNK_LINES[self.progress.epoch]):
            encoded, span_s = self._encoded(chunk)
            last = chunk.number
            if encoded is not None and last > self.progress.chunks:
                if waiting and span_s > _WIDE_S:
                    self._send(waiting, last - 1)
                    waiting = []
                waiting.append(encoded)
                if span_s > _WIDE_S or _is_full(waiting):
                    self._send(waiting, last)
                    waiting = []
            yield
        for left in self._converter.end():
            self._leave(left, self.lines)
        self.progress.finished = True
        self._send(waiting, last)

    def _encoded(self, chunk: Chunk) -> tuple[EncodedFrame | None, int]:
        """Return the frame of a chunk and its span in seconds; None if none of its lines adds anything."""
        settings = self._settings
        aggregator = Aggregator(settings.aggregate, settings.lines, settings.tags, self._mapper)
        for number, line in enumerate(chunk.lines, chunk.first):
            self.lines += 1
            if line is None:
                self._leave(LeftOut(Reason.LINE_TOO_LONG.value), number)
                continue
            for found in self._converter.convert(line, aggregator):
                if isinstance(found, LeftOut):
                    self._leave(found, number)
                else:
                    self._add(found, number, aggregator)
        self.ignored.update({one.value: count for one, count in aggregator.stats.ignored.items()})
        self.overflow_lines += aggregator.stats.overflow_lines
        buckets = aggregator.flush_all(self.progress.created_ms)
        span_s = buckets[-1].start_s - buckets[0].start_s if buckets else 0
        return self._frame(buckets, chunk.number), span_s

    def _add(self, sample: Sample, number: int, aggregator: Aggregator) -> None:
        if sample.time_ms > self._newest_ms:
            self._leave(LeftOut(IN_THE_FUTURE), number)
        else:
            aggregator.add_line(sample.line, sample.time_ms)

    def _frame(self, buckets: list[Bucket], number: int) -> EncodedFrame | None:
        rows = [(b.start_s, series, cell) for b in buckets for series, cell in b.cells.items()]
        if not rows:
            return None
        frame = frame_of(rows, self._sender, number, self.progress.created_ms)
        return EncodedFrame(frame.identity, encode(frame), frame.rows, number, frame.lines, frame.created_ms)

    def _leave(self, left: LeftOut, number: int) -> None:
        (self.bad if left.bad else self.skipped)[left.reason] += 1
        if left.bad and self.bad.total() <= MAX_NAMED:
            self._named(number, left.reason)

    def _send(self, frames: list[EncodedFrame], chunk: int) -> None:
        """Send frames, and record that all chunks up to this one are answered."""
        progress = self.progress
        for encoded, answer in zip(frames, self._sends.send(frames) if frames else (), strict=True):
            match answer.outcome:
                case Outcome.ACCEPTED:
                    progress.frames += 1
                    progress.rows += encoded.rows
                    progress.lines += encoded.lines
                    progress.expired_rows += expired_rows(answer)
                case Outcome.CONFLICT:
                    progress.conflict_lines += encoded.lines
                case _:
                    progress.refused_lines += encoded.lines
        progress.chunks = max(progress.chunks, chunk)
        self._save(msgspec.structs.replace(progress))


def _is_full(frames: Sequence[EncodedFrame]) -> bool:
    """Return whether these frames fill a request."""
    return len(frames) == MAX_FRAMES or sum(len(encoded.data) for encoded in frames) >= MAX_BYTES
