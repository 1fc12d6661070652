"""The messages of `POST /v1/subscriptions`: definitions, removals, results of ticks and sent ones. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

MAX_TEXT_BYTES = 1 << 16
#: Bytes of the JSON of one result.
MAX_PAYLOAD_BYTES = 1 << 20
#: Seconds of the window of a subscription, and the shortest resolution.
MIN_WINDOW_S = 60
MAX_WINDOW_S = 86_400
MIN_RESOLUTION_S = 60

_Org = Annotated[int, Meta(ge=1, lt=(1 << 32) - 1)]
_Project = Annotated[int, Meta(ge=0, lt=1 << 32)]
_Hex = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
_Name = Annotated[str, Meta(min_length=1, max_length=100)]
_Seconds = Annotated[int, Meta(ge=0, lt=1 << 32)]


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A query that is evaluated again and again. `project_id` 0: all projects of the org.

    Its ticks are the multiples of `resolution_s` after `since_s`. A tick reads the `time_window_s` before it.
    """

    org_id: _Org
    project_id: _Project
    id: _Hex
    dataset: _Name
    entity: _Name
    query: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_BYTES)]
    time_window_s: Annotated[int, Meta(ge=MIN_WINDOW_S, le=MAX_WINDOW_S)]
    resolution_s: Annotated[int, Meta(ge=MIN_RESOLUTION_S, le=MAX_WINDOW_S)]
    since_s: _Seconds
    webhook: Annotated[str, Meta(max_length=2_048)] = ""

    @property
    def project(self) -> int | None:
        """The project; None for all of the org."""
        return self.project_id or None


class TickResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one tick of a subscription, as JSON."""

    org_id: _Org
    project_id: _Project
    id: _Hex
    tick_s: _Seconds
    payload: Annotated[str, Meta(max_length=MAX_PAYLOAD_BYTES)]


class SentTick(msgspec.Struct, frozen=True, kw_only=True):
    """The last tick of a subscription whose result its webhook has, or that was given up."""

    org_id: _Org
    project_id: _Project
    id: _Hex
    tick_s: _Seconds


class SubscriptionWrites(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a shim: definitions, results and the progress of webhooks to store.

    `ahead`: subscriptions with ticks that have not come, of a clock that was ahead, to forget these.
    """

    put: Annotated[list[Subscription], Meta(max_length=1)] = []
    remove: Annotated[list[Subscription], Meta(max_length=1)] = []
    results: Annotated[list[TickResult], Meta(max_length=10_000)] = []
    sent: Annotated[list[SentTick], Meta(max_length=10_000)] = []
    ahead: Annotated[list[SentTick], Meta(max_length=10_000)] = []

    @property
    def latest_s(self) -> int:
        """The latest tick with a result, or that a webhook has."""
        ticks: list[TickResult | SentTick] = [*self.results, *self.sent]
        return max((one.tick_s for one in ticks), default=0)

    def projects(self) -> set[tuple[int, int | None]]:
        """Return every org and project that is written to; None: all projects of the org."""
        ticks: list[TickResult | SentTick] = [*self.results, *self.sent, *self.ahead]
        definitions = {(one.org_id, one.project) for one in (*self.put, *self.remove)}
        return definitions | {(one.org_id, one.project_id or None) for one in ticks}
