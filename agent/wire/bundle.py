"""Bundles: several encoded frames in one request, answered individually.

Owns the bytes of the request and the form of its answer (docs/wire-format.md). A bundle adds nothing to its
frames: each has its identity, and is checked and answered as if it had come alone. An indexer without support
for bundles answers 404 or 405, and gets the frames one by one.

Pure: bytes and values in, values out.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import msgspec

PATH: Final = "/v1/bundles"
CONTENT_TYPE: Final = "application/x-meterhouse-bundle"
#: Frames of one bundle.
MAX_FRAMES: Final = 64
_MARK: Final = b"MHbundl1"
_LENGTH: Final = struct.Struct("<I")


class BundleError(ValueError):
    """Bytes that are not a bundle, or not an answer to one; the text names the problem."""


class FrameAnswer(msgspec.Struct, omit_defaults=True):
    """The answer to one frame: the status it would get alone, and the rest of that answer."""

    status: int
    rows: int = 0
    expired: int = 0
    error: str = ""
    retry_after: float = 0.0


class BundleAnswer(msgspec.Struct):
    """The body of an answer 200: one entry per frame, in their order."""

    answers: list[FrameAnswer]


_decoder: Final = msgspec.json.Decoder(BundleAnswer)


def encode(frames: Sequence[bytes]) -> bytes:
    """Encode a bundle of at most MAX_FRAMES encoded frames."""
    parts = [_MARK]
    for frame in frames:
        parts += (_LENGTH.pack(len(frame)), frame)
    return b"".join(parts)


def decode(body: bytes) -> list[bytes]:
    """Return the frames of a bundle, still encoded. Raises BundleError, and nothing else."""
    if not body.startswith(_MARK):
        raise BundleError(f"not a bundle: expected {_MARK.decode()} at the start")
    at, frames = len(_MARK), list[bytes]()
    while at < len(body):
        if at + _LENGTH.size > len(body):
            raise BundleError(f"cut short after {len(frames)} frames")
        (size,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        if at + size > len(body):
            raise BundleError(f"frame {len(frames)}: {len(body) - at} bytes left: expected {size}")
        if len(frames) == MAX_FRAMES:
            raise BundleError(f"too many frames: at most {MAX_FRAMES} are accepted")
        frames.append(body[at : at + size])
        at += size
    if not frames:
        raise BundleError("no frames: expected at least one")
    return frames


def decode_answers(body: bytes, count: int) -> list[FrameAnswer]:
    """Decode the answers to `count` frames. Raises BundleError, and nothing else."""
    try:
        answers = _decoder.decode(body).answers
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BundleError(f"not an answer to a bundle: {e}") from None
    if len(answers) != count:
        raise BundleError(f"{len(answers)} answers: expected {count}")
    return answers
