"""Bundles: the frames of one request, each accepted, stored and answered as if it came alone.

Frames are decoded one after the other, so that a request holds memory for one decoded frame, and are written
together, so that they share a batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from agent.wire.bundle import FrameAnswer
from agent.wire.frame import FrameError
from indexer.access.grants import AccessError
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.errors import WriteError

FrameFault = AccessError | FrameError | WriteError


async def answer_each(
    bodies: Sequence[bytes],
    taken: Callable[[bytes], Awaitable[AcceptedFrame]],
    stored: Callable[[AcceptedFrame], Awaitable[Mapping[str, int]]],
    failed: Callable[[FrameFault], tuple[int, int]],
) -> list[FrameAnswer]:
    """Return the answers to frames, in their order.

    `taken` decodes and checks one, `stored` writes it, `failed` gives the status of an error of both and the
    seconds after which to send the frame again.
    """

    def fault(error: FrameFault) -> FrameAnswer:
        status, retry_after_s = failed(error)
        return FrameAnswer(status, error=str(error), retry_after=float(retry_after_s))

    async def store(unit: AcceptedFrame) -> FrameAnswer:
        try:
            answer = await stored(unit)
        except WriteError as e:
            return fault(e)
        return FrameAnswer(200, rows=answer["rows"], expired=answer.get("expired", 0))

    answers: list[FrameAnswer | asyncio.Task[FrameAnswer]] = []
    async with asyncio.TaskGroup() as group:
        for body in bodies:
            try:
                answers.append(group.create_task(store(await taken(body))))
            except (AccessError, FrameError, WriteError) as e:
                answers.append(fault(e))
    return [answer if isinstance(answer, FrameAnswer) else answer.result() for answer in answers]
