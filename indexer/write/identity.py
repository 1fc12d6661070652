"""The identity of what is written exactly once: whose it is, and which frame of which agent. Pure.

An identity carries the tenant, so that no tenant can use up an identity that another's agent will send.
Before migration 4 it did not, and a frame of that time may be sent again after it: a frame that was created
before keeps the identity of then, for ever.
"""

from __future__ import annotations

from typing import Final

import xxhash

from agent.wire.frame import OF_MESSAGES, OF_UP, Frame, FrameError

#: Agent names that begin so are the indexer's own.
_RESERVED: Final = (OF_MESSAGES, OF_UP)


def frame_identity(frame: Frame, scoped_from_ms: int) -> str:
    """Return the identity of a frame that an agent sent.

    `scoped_from_ms`: when this database's identities began to carry the tenant, Unix milliseconds.
    Raises FrameError for an agent name that is reserved.
    """
    for reserved in _RESERVED:
        if frame.agent.startswith(reserved):
            raise FrameError(f"agent: {frame.agent[:40]!r} begins with {reserved!r}, which is reserved")
    if frame.created_ms < scoped_from_ms:
        return frame.identity
    return f"{frame.org_id}:{frame.project_id}/{frame.identity}"


def digest(body: bytes) -> bytes:
    """Return 16 bytes that tell whether the same identity comes with other bytes."""
    return xxhash.xxh3_128_digest(body)
