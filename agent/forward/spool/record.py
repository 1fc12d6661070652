"""Records of the spool's files: one encoded frame each, with its key facts readable without decoding.

Owns the bytes: a header of fixed size with its own checksum, then the frame's identity and bytes, whose
checksum is in the header. One byte of the header, outside the checksum, marks a frame that needs no sending;
it is overwritten in place. Damage therefore costs one record: its header still tells where the next record
begins, and without a header the next record is found by its mark.

Pure: bytes and values in, values out.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Final

import msgspec
from xxhash import xxh64_intdigest

from agent.wire.frame import MAX_FRAME_BYTES

#: The first bytes of a record.
MARK: Final = b"MHfr"
VERSION: Final = 1
#: Mark, version, state, bytes of the identity, bytes of the frame, rows, lines, number, created, checksum of
#: the body. The checksum of the header, computed with the state WAITING, follows.
_HEAD: Final = struct.Struct("<4sBBHIIQQQQ")
_CHECKSUM: Final = struct.Struct("<Q")
HEADER_BYTES: Final = _HEAD.size + _CHECKSUM.size
#: Offset of the state in the header, and its values: two bits apart, so that one flipped bit ends no frame.
STATE_OFFSET: Final = 5
WAITING: Final = 0
DONE: Final = 0x44
#: Longer identities and frames are never written: a name has 500 characters, compression may add a little.
MAX_IDENTITY_BYTES: Final = 4_096
MAX_DATA_BYTES: Final = MAX_FRAME_BYTES + (1 << 20)
_MAX_U32: Final = 0xFFFF_FFFF
_MAX_U64: Final = 0xFFFF_FFFF_FFFF_FFFF


#: Bytes of a record that tell its version.
VERSION_BYTES: Final = 5


class RecordError(ValueError):
    """Bytes that are not a whole record; the text names the problem."""


class EncodedFrame(msgspec.Struct, frozen=True):
    """An encoded frame: its identity, its bytes (the same in every try), its rows and its sequence number.

    `number` is 0 for frames of an earlier run; `created_ms` is 0 if unknown.
    """

    identity: str
    data: bytes
    rows: int
    number: int = 0
    lines: int = 0
    created_ms: int = 0


class RecordHeader(msgspec.Struct, frozen=True):
    """The facts about a frame that its record's header contains."""

    state: int
    identity_bytes: int
    data_bytes: int
    rows: int
    lines: int
    number: int
    created_ms: int
    checksum: int

    @property
    def record_bytes(self) -> int:
        """Size of the whole record in bytes."""
        return HEADER_BYTES + self.identity_bytes + self.data_bytes


def later_version(data: bytes) -> int:
    """Return the version of the record that `data` begins with, if a later program wrote it; else 0.

    A record of this version with one flipped bit is damaged, and no other program's.
    """
    if not data.startswith(MARK) or len(data) < VERSION_BYTES or data[VERSION_BYTES - 1] <= VERSION:
        return 0
    version = data[VERSION_BYTES - 1]
    if (version ^ VERSION).bit_count() == 1:
        with suppress(RecordError):
            decode_header(data[: VERSION_BYTES - 1] + bytes([VERSION]) + data[VERSION_BYTES:])
            return 0
    return version


def record_bytes(frame: EncodedFrame) -> int:
    """Return the size of a frame's record in bytes."""
    return HEADER_BYTES + len(frame.identity.encode(errors="surrogatepass")) + len(frame.data)


def encode(frame: EncodedFrame) -> bytes:
    """Return the record of a frame. Raises RecordError if it is too large."""
    identity = frame.identity.encode(errors="surrogatepass")
    if len(identity) > MAX_IDENTITY_BYTES or len(frame.data) > MAX_DATA_BYTES:
        raise RecordError(
            f"{len(identity)} bytes of identity, {len(frame.data)} of frame: "
            f"expected at most {MAX_IDENTITY_BYTES} and {MAX_DATA_BYTES}"
        )
    head = _HEAD.pack(
        MARK,
        VERSION,
        WAITING,
        len(identity),
        len(frame.data),
        min(frame.rows, _MAX_U32),
        min(frame.lines, _MAX_U64),
        frame.number,
        frame.created_ms,
        _body_checksum(identity, frame.data),
    )
    return b"".join((head, _CHECKSUM.pack(xxh64_intdigest(head)), identity, frame.data))


def decode_header(data: bytes) -> RecordHeader:
    """Decode the header in the first HEADER_BYTES of `data`. Raises RecordError, and nothing else."""
    if len(data) < HEADER_BYTES:
        raise RecordError(f"{len(data)} bytes of a header: expected {HEADER_BYTES}")
    mark, version, *fields = _HEAD.unpack_from(data)
    if mark != MARK:
        raise RecordError(f"no record begins here: expected {MARK!r}")
    if version != VERSION:
        raise RecordError(f"record of version {version}: expected {VERSION}")
    plain = data[:STATE_OFFSET] + bytes([WAITING]) + data[STATE_OFFSET + 1 : _HEAD.size]
    if xxh64_intdigest(plain) != _CHECKSUM.unpack_from(data, _HEAD.size)[0]:
        raise RecordError("the header is damaged: expected a matching checksum")
    head = RecordHeader(*fields)
    if head.identity_bytes > MAX_IDENTITY_BYTES or head.data_bytes > MAX_DATA_BYTES:
        raise RecordError(f"{head.record_bytes} bytes of a record: too large")
    return head


def decode_body(head: RecordHeader, body: bytes) -> EncodedFrame:
    """Decode the frame from its header and the bytes that follow. Raises RecordError, and nothing else."""
    if len(body) != head.identity_bytes + head.data_bytes:
        raise RecordError(f"{len(body)} bytes: torn: expected {head.identity_bytes + head.data_bytes}")
    identity, data = body[: head.identity_bytes], body[head.identity_bytes :]
    if _body_checksum(identity, data) != head.checksum:
        raise RecordError("the frame is damaged: expected a matching checksum")
    try:
        name = identity.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        raise RecordError("the identity is not text: expected UTF-8") from None
    return EncodedFrame(name, data, head.rows, head.number, head.lines, head.created_ms)


def _body_checksum(identity: bytes, data: bytes) -> int:
    return xxh64_intdigest(data, seed=xxh64_intdigest(identity) & _MAX_U32)
