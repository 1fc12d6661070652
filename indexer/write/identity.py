"""The identity of a frame: its tenant, agent and number. Pure.

An identity carries the tenant, so that no tenant can use up an identity that another's agent will send.
Before migration 4 it did not, and a frame of that time may be sent again later: a frame created before keeps
that identity for ever.
"""

from __future__ import annotations

import re
from typing import Final

import xxhash

from agent.wire.frame import BACKFILL_PREFIX, OF_MESSAGES, OF_UP, Frame, FrameError

#: How keys begin that are made for requests of messages without one; no client's key has this character.
OF_KEYLESS: Final = "\ufffd"
#: Agent names with these beginnings are the indexer's own.
_RESERVED: Final = (OF_MESSAGES, OF_UP)
_SCOPED: Final = re.compile(
    rf"(?:{OF_MESSAGES})?([0-9]+):[0-9]+/.*/[0-9]+/[0-9]+(?:/days-[0-9]+)?", re.DOTALL
)


def frame_identity(frame: Frame, scoped_from_ms: int) -> str:
    """Return the identity of an agent's frame.

    `scoped_from_ms`: when this database's identities began to carry the tenant, Unix milliseconds. Raises
    FrameError for a reserved agent name.
    """
    for reserved in _RESERVED:
        if frame.agent.startswith(reserved):
            raise FrameError(f"agent: {frame.agent[:40]!r} begins with {reserved!r}, which is reserved")
    if frame.created_ms < scoped_from_ms:
        return frame.identity
    return f"{frame.org_id}:{frame.project_id}/{frame.identity}"


def org_of(identity: str) -> int | None:
    """Return the org of a frame's identity; None if it does not carry one."""
    found = _SCOPED.fullmatch(identity)
    return int(found[1]) if found else None


def any_indexer(identity: str) -> bool:
    """Return whether a frame may come again to any indexer: of messages with a key, streams, a backfill."""
    if identity.startswith(OF_MESSAGES):
        return OF_KEYLESS not in identity
    return identity.partition("/")[2].startswith(BACKFILL_PREFIX)


def digest(body: bytes) -> bytes:
    """Return 16 bytes that differ if the same identity comes with other bytes."""
    return xxhash.xxh3_128_digest(body)
