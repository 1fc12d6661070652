"""The heartbeat: the agent's progress, sent to the indexer once per bucket. See docs/wire-format.md.

Owns its bytes: the agent encodes, the indexer decodes. It is JSON, because one comes in ten seconds. Pure.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

PATH: Final = "/v1/heartbeats"
CONTENT_TYPE: Final = "application/json"
#: A longer body is refused.
MAX_BYTES: Final = 4_096

_Id = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF_FFFF)]
_Org = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF_FFFE)]  # the one after it is of meterhouse doctor
_Millis = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
_Reason = Annotated[str, msgspec.Meta(max_length=40)]


class HeartbeatError(ValueError):
    """Bytes that are not a heartbeat; the text names the problem and place."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """States that an agent is alive, and that all its buckets that ended by `flushed_until_ms` are stored."""

    agent: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    epoch: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    org_id: _Org = 1
    project_id: _Id = 1
    #: Unix milliseconds. Every frame with rows of these buckets was acknowledged, refused or dropped.
    flushed_until_ms: _Millis = 0
    #: The agent stops: nothing more comes under this epoch.
    ended: bool = False
    #: Unix milliseconds of the agent's machine when it sends this; 0 from agents that do not send it.
    sent_ms: _Millis = 0
    #: The number of the last frame made.
    frames_made: _Millis = 0
    #: Frames up to this number are settled: acknowledged, refused or dropped. None from older agents.
    frames_over: _Millis | None = None
    #: Lines since the agent's start. None from older agents.
    lines: _Count | None = None
    #: Those of them that were refused, by reason.
    refused_lines: Annotated[dict[_Reason, _Count], msgspec.Meta(max_length=40)] = {}
    #: Bytes of frames that wait or are in flight.
    unsent_bytes: _Count = 0
    #: The agent's version; empty from older agents.
    version: Annotated[str, msgspec.Meta(max_length=40)] = ""


class HeartbeatAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The indexer's answer."""

    #: Its Unix milliseconds; 0 from older indexers.
    now_ms: _Millis = 0
    #: Seconds for which it recognises stored frames, at least; 0 from older indexers.
    remembers_s: _Millis = 0


_decoder = msgspec.json.Decoder(Heartbeat)
_answer_decoder = msgspec.json.Decoder(HeartbeatAnswer)


def encode(beat: Heartbeat) -> bytes:
    """Encode the body of the request."""
    return msgspec.json.encode(beat)


def decode(data: bytes) -> Heartbeat:
    """Decode a heartbeat; unknown fields are ignored. Raises HeartbeatError."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise HeartbeatError(f"heartbeat: {e}") from None


def read_answer(text: str) -> HeartbeatAnswer:
    """Return the indexer's answer; zeros where it is not one."""
    try:
        return _answer_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return HeartbeatAnswer()
