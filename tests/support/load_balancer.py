"""A load balancer over indexers, as the channel of a delivery: each request goes where the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import cast

import msgspec

from agent.forward.channel import Answer, Channel, Outcome, judge
from agent.wire import bundle
from agent.wire.addressee import FOR_HEADER, MISDIRECTED
from agent.wire.release import release_of


class LoadBalancer:
    """Indexers that answer as the wire format says; those of an empty name refuse nothing.

    `taken`: the indexer, the frame and the releases of each frame that was not refused.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes, int]] = []
        self.headers: list[dict[str, str]] = []
        self._broken = ""
        self._to: Iterator[str] = iter(())
        self._status: int | Outcome = 200

    def route(self, to: Sequence[str], status: int | Outcome = 200) -> None:
        """Send requests to these in turn; those that they take are answered by `status`."""
        self._to, self._status = chain.from_iterable(repeat(to)), status

    def break_after(self, name: str) -> None:
        """Let an indexer take the next request and die; the channel makes it again on a new connection."""
        self._broken = name

    def channel(self) -> Channel:
        return cast("Channel", _Balanced(self._answer))

    def _answer(self, bodies: Sequence[bytes], headers: Mapping[str, str]) -> Answer:
        self.headers.append(dict(headers))
        broken, self._broken = self._broken, ""
        if broken:
            self.taken += [(broken, body, release_of(headers).hop) for body in bodies]
            return msgspec.structs.replace(self._answer(bodies, headers), sent=True)
        name = next(self._to)
        if name and headers.get(FOR_HEADER, name) != name:
            return Answer(Outcome.MISDIRECTED, MISDIRECTED, sent=False, indexer=name)
        self.taken += [(name, body, release_of(headers).hop) for body in bodies]
        if isinstance(self._status, Outcome):
            return Answer(self._status)
        return Answer(judge(self._status, "").outcome, self._status, indexer=name)


class _Balanced:
    """Sends frames one by one: a bundle is not known."""

    def __init__(self, answer: Callable[[Sequence[bytes], Mapping[str, str]], Answer]) -> None:
        self._answer = answer

    def send(
        self, data: bytes, path: str = "", content_type: str = "", headers: Mapping[str, str] | None = None
    ) -> Answer:
        del content_type
        if path == bundle.PATH:
            return Answer(Outcome.STATUS, 404)
        return self._answer([data], headers or {})

    def close(self) -> None:
        """Do nothing: each request has a route of its own."""
