"""Tells the indexer's name with answers to frames, and refuses frames that are for another indexer.

So an agent keeps to one of several indexers that one URL leads to (agent/wire/addressee.py).
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from agent.wire import bundle
from agent.wire.addressee import ANY, FOR_HEADER, INDEXER_HEADER, MISDIRECTED
from indexer.metrics import Metrics
from indexer.receive.answers import error_answer

FRAMES: Final = "/v1/frames"


class NamedAnswers:
    """A middleware around all others. `name`: empty if any indexer may get a frame again, or there is one."""

    def __init__(self, name: str, metrics: Metrics) -> None:
        self._name = name
        self._metrics = metrics

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request."""
        if not self._name or request.path not in (FRAMES, bundle.PATH):
            return await handler(request)
        if (wanted := request.headers.get(FOR_HEADER, self._name)) != self._name:
            if wanted != ANY:
                self._metrics.refused.labels(reason="misdirected").inc()
            text = f"{FOR_HEADER}: this is another indexer"
            response: web.StreamResponse = error_answer(MISDIRECTED, text)
        else:
            response = await handler(request)
        response.headers[INDEXER_HEADER] = self._name
        return response
