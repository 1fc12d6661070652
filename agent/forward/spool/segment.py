"""One file of the spool: consecutive records, appended by one run of an agent and read by any.

Owns the file, the offsets of its records, and how many of their frames still wait. Only a file that is being
read or written has its records' offsets in memory; the others have totals. Bytes that cannot be read are
reported as `SegmentDamage` and skipped.

A frame of the file waits, is out (a sender has it), or is done. Done is noted in the file; out is not, so a
frame that was out when the agent died waits again.

Not thread-safe.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from agent.forward.spool.record import (
    DONE,
    HEADER_BYTES,
    MARK,
    STATE_OFFSET,
    EncodedFrame,
    RecordError,
    RecordHeader,
    decode_body,
    decode_header,
    encode,
    later_version,
)
from agent.runtime.replace_file import sync_directory

_SEARCH_BYTES: Final = 64 << 10


class SegmentEntry(msgspec.Struct, frozen=True):
    """A record's offset and header."""

    offset: int
    head: RecordHeader


class SegmentDamage(msgspec.Struct, frozen=True):
    """Bytes of a file that are not a whole record; `head` is set if the header could be read."""

    offset: int
    size: int
    head: RecordHeader | None
    reason: str


class Segment:
    """The file at `path`. `own`: this run writes it; frames of other runs have no number.

    `frames`, `rows`, `lines` and `frame_bytes` count the waiting frames.
    """

    def __init__(self, path: Path, *, own: bool) -> None:
        self.path = path
        self.number = int(path.stem)
        self.own = own
        self.size = 0
        self.frames = 0
        self.rows = 0
        self.lines = 0
        self.frame_bytes = 0
        #: Frames that were taken and neither done nor given back.
        self.out = 0
        #: Creation time of its oldest frame in milliseconds; of the oldest waiting one once it is loaded.
        self.oldest_ms = 0
        self.newest_ms = 0
        #: The lowest number of its frames; 0: none is of this run.
        self.low_number = 0
        self.waiting: deque[SegmentEntry] | None = deque() if own else None
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | ((os.O_CREAT | os.O_EXCL) if own else 0)
        self._file = os.open(path, flags, 0o600)

    def later_version(self) -> int:
        """Return the version of its first record, if a later program wrote it; else 0. Raises OSError."""
        return later_version(os.pread(self._file, HEADER_BYTES, 0))

    def append(self, frame: EncodedFrame, *, sync: bool) -> SegmentEntry:
        """Write a frame, which then waits. Raises OSError and RecordError and leaves the file as before."""
        record = encode(frame)
        try:
            written = 0
            while written < len(record):
                written += os.pwrite(self._file, memoryview(record)[written:], self.size + written)
            if sync:
                os.fsync(self._file)
                if not self.size:
                    sync_directory(self.path.parent)
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        entry = SegmentEntry(self.size, decode_header(record[:HEADER_BYTES]))
        self.size += len(record)
        assert self.waiting is not None  # the file that is written is never unloaded
        self.waiting.append(entry)
        self.count(entry, 1)
        return entry

    def scan(self) -> Iterator[SegmentEntry | SegmentDamage]:
        """Yield all records of the file in order, including done ones, and the damage between them.

        Reads headers only: a damaged frame shows when it is read. Raises OSError.
        """
        end = self.size = os.fstat(self._file).st_size
        offset = 0
        while offset < end:
            try:
                head = decode_header(os.pread(self._file, HEADER_BYTES, offset))
                size = head.record_bytes
                if offset + size > end:
                    yield SegmentDamage(offset, end - offset, head, "the record is torn")
                    return
                yield SegmentEntry(offset, head)
            except RecordError as e:
                size = self._next_record(offset + 1, end) - offset
                yield SegmentDamage(offset, size, None, str(e))
            offset += size

    def _next_record(self, start: int, end: int) -> int:
        """Return the offset of the next whole header; `end` if there is none."""
        offset = start
        while offset < end:
            part = os.pread(self._file, _SEARCH_BYTES, offset)
            at = part.find(MARK)
            while at >= 0:
                try:
                    decode_header(os.pread(self._file, HEADER_BYTES, offset + at))
                except RecordError:
                    at = part.find(MARK, at + 1)
                else:
                    return offset + at
            offset += max(len(part) - len(MARK) + 1, 1)
        return end

    def count(self, entry: SegmentEntry, frames: int) -> None:
        """Count a frame as waiting (1) or no longer waiting (-1)."""
        head = entry.head
        if frames > 0 and not self.frames:
            self.oldest_ms = self.newest_ms = self.low_number = 0  # of frames that no longer wait
        self.frames += frames
        self.rows += frames * head.rows
        self.lines += frames * head.lines
        self.frame_bytes += frames * head.data_bytes
        if frames > 0:
            self.oldest_ms = min(self.oldest_ms or head.created_ms, head.created_ms)
            self.newest_ms = max(self.newest_ms, head.created_ms)
            if self.own:
                self.low_number = min(self.low_number or head.number, head.number)

    def load(self) -> None:
        """Find the offsets of the waiting frames, if they are unknown. Raises OSError.

        Afterwards the totals are right: lower than before if the file was damaged meanwhile.
        """
        if self.waiting is not None:
            return
        self.waiting = deque(e for e in self.scan() if isinstance(e, SegmentEntry) and e.head.state != DONE)
        self.frames = self.rows = self.lines = self.frame_bytes = 0
        for entry in self.waiting:
            self.count(entry, 1)

    def unload(self) -> None:
        """Forget the offsets until the file is read again; not while frames of it are out."""
        if not self.out:
            self.waiting = None

    def take(self) -> SegmentEntry | None:
        """Return the first waiting frame, which is then out; None if none waits."""
        if not self.waiting:
            return None
        entry = self.waiting.popleft()
        self.count(entry, -1)
        self.out += 1
        self._update_oldest()
        return entry

    def _update_oldest(self) -> None:
        """Set `oldest_ms` and `low_number` anew after a frame has left `waiting`."""
        if self.waiting:
            self.oldest_ms = self.waiting[0].head.created_ms
            if self.own:
                self.low_number = min(e.head.number for e in self.waiting)

    def take_last(self) -> None:
        """Take the frame that was appended last: it is sent from memory, and is out from then on."""
        assert self.waiting is not None  # the file that is written is never unloaded
        self.count(self.waiting.pop(), -1)
        self.out += 1
        self._update_oldest()

    def give_back(self, entry: SegmentEntry) -> None:
        """Return a frame that is out to waiting, as the first."""
        self.out -= 1
        assert self.waiting is not None  # it is not unloaded while frames are out
        self.waiting.appendleft(entry)
        self.count(entry, 1)

    def read(self, entry: SegmentEntry) -> EncodedFrame:
        """Read the frame of a record. Raises RecordError and OSError."""
        body = os.pread(self._file, entry.head.record_bytes - HEADER_BYTES, entry.offset + HEADER_BYTES)
        frame = decode_body(entry.head, body)
        return frame if self.own else msgspec.structs.replace(frame, number=0)

    def raw(self, offset: int, size: int) -> bytes:
        """Return raw bytes of the file. Raises OSError."""
        return os.pread(self._file, size, offset)

    def done(self, entry: SegmentEntry) -> None:
        """Record that a frame that is out needs no sending, in the file too if it can be written."""
        self.out -= 1
        try:
            os.pwrite(self._file, bytes([DONE]), entry.offset + STATE_OFFSET)
        except OSError:
            return  # it is sent again after a restart, and counted once by its identity

    def sync(self) -> None:
        """Flush the file to disk. Raises OSError."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file without removing it."""
        os.close(self._file)

    def delete(self) -> None:
        """Close and remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)
