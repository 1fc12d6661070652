"""Chooses the frames of the next batch. Pure: callers pass times of a monotonic clock.

Frames queue up while a batch is being written and go out together with the next one. The queue is bounded by
bytes: a frame that does not fit is refused, and its sender keeps it. A batch has rows of few days, and orgs
take turns in it: rows of many days from one org do not delay another's. Within an org its agents take turns,
so that the backlog of one does not delay another's live frames. A heavy frame of one org and light frames of
others go in different batches, in turn: the light ones do not wait for the heavy one's INSERT.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Set
from typing import Final, NamedTuple

from indexer.settings import BatchSettings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.held_bytes import HeldBytes
from indexer.write.split_by_day import MAX_DAYS

#: A paced batch waits for frames while they come in such intervals, and at most so long for the first one.
_GATHER_GAP_MS: Final = 100
_MAX_GATHER_MS: Final = 800
#: Frames of an org that a batch passes over at most, because their days do not fit.
_MAX_PASSED: Final = 1_000


class _Waiting(NamedTuple):
    unit: AcceptedFrame
    since_ms: int


class _OrgQueue:
    """The frames of one org: agents take turns, and frames of one agent keep their order."""

    def __init__(self) -> None:
        self._of_agents: dict[str, deque[_Waiting]] = {}  # the next one's first; none is empty

    def __bool__(self) -> bool:
        return bool(self._of_agents)

    def __len__(self) -> int:
        return sum(map(len, self._of_agents.values()))

    @property
    def since_ms(self) -> int:
        """The time since which the oldest frame waits."""
        return min(units[0].since_ms for units in self._of_agents.values())

    @property
    def heavy(self) -> bool:
        """Whether the next frame is heavy."""
        return next(iter(self._of_agents.values()))[0].unit.heavy

    def units(self) -> Iterator[AcceptedFrame]:
        """Yield the frames."""
        return (waiting.unit for of_agent in self._of_agents.values() for waiting in of_agent)

    def append(self, waiting: _Waiting) -> None:
        self._of_agents.setdefault(waiting.unit.frame.agent, deque()).append(waiting)

    def popleft(self) -> _Waiting:
        """Remove the next frame; the following one is of the next agent."""
        agent = next(iter(self._of_agents))
        units = self._of_agents.pop(agent)
        waiting = units.popleft()
        if units:
            self._of_agents[agent] = units
        return waiting

    def put_back(self, passed: list[_Waiting]) -> None:
        """Queue removed frames again, before all others of their agents."""
        for waiting in reversed(passed):
            self._of_agents.setdefault(waiting.unit.frame.agent, deque()).appendleft(waiting)


class Batcher:
    """Queues frames. `queue_bytes` bounds those that wait or are being written, in total and by org.

    `paced`: batches are few, so that one has the frames of all agents that flush at the same moment: those
    of a second batch would wait for its parts.
    """

    def __init__(self, settings: BatchSettings, queue_bytes: int, *, paced: bool = False) -> None:
        self._settings = settings
        self._paced = paced
        self._last_ms = 0
        self._held = HeldBytes(queue_bytes)
        self._queues: dict[int, _OrgQueue] = {}  # by org; none is empty
        self._rows = 0
        self._waiting_bytes = 0
        self._heavy_next = False  # light frames went before heavy ones that waited

    @property
    def held_bytes(self) -> int:
        """Bytes of the frames that wait or are being written."""
        return self._held.total

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def offer(self, unit: AcceptedFrame, now_ms: int) -> bool:
        """Queue a frame; return False if it does not fit. An empty queue takes a frame of any size."""
        if not self._held.take(unit.frame.org_id, unit.held_bytes, unit.frame.agent):
            return False
        self._queues.setdefault(unit.frame.org_id, _OrgQueue()).append(_Waiting(unit, now_ms))
        self._last_ms = now_ms
        self._rows += unit.frame.rows
        self._waiting_bytes += unit.held_bytes
        return True

    def ready_in_ms(self, now_ms: int, pace_ms: int = 0, held: Set[int] = frozenset()) -> int | None:
        """Return the milliseconds until a batch is due: 0 is now, None is never (nothing waits).

        A batch that is not full waits for at least `pace_ms`. Frames of the orgs `held` do not count.
        """
        queues = [queue for org, queue in self._queues.items() if org not in held]
        if not queues:
            return None
        rows, size = self._rows, self._waiting_bytes
        if len(queues) < len(self._queues):
            rows = sum(unit.frame.rows for queue in queues for unit in queue.units())
            size = sum(unit.held_bytes for queue in queues for unit in queue.units())
        if rows >= self._settings.rows or size >= self._settings.bytes:
            return 0
        oldest_ms = min(queue.since_ms for queue in queues)
        due_ms = oldest_ms + self._settings.linger_ms
        if self._paced:
            due_ms = max(due_ms, min(self._last_ms + _GATHER_GAP_MS, oldest_ms + _MAX_GATHER_MS))
        return max(0, pace_ms, due_ms - now_ms)

    def take(self, held: Set[int] = frozenset()) -> list[AcceptedFrame]:
        """Return the next batch, up to the bounds, at least one frame if any waits of orgs not `held`.

        Orgs take turns, the one whose frame waits longest first, and within an org its agents. The frames of
        an agent keep their order, except for those whose days do not fit.
        """
        units: list[AcceptedFrame] = []
        rows = size = 0
        partitions: set[tuple[int, int]] = set()
        passed: dict[int, list[_Waiting]] = {org: [] for org in self._queues}
        alone = len(self._queues.keys() - held) == 1
        turns = deque(self._orgs(held))
        while turns:
            org = turns.popleft()
            waiting = self._next_of(org, partitions, passed[org])
            if waiting is None:
                continue
            unit = waiting.unit
            rows += unit.frame.rows
            size += unit.held_bytes
            if units and (rows > self._settings.rows or size > self._settings.bytes):
                passed[org].append(waiting)
                break
            units.append(unit)
            partitions |= unit.partitions
            if self._queues[org] and (alone or self._queues[org].heavy == unit.heavy):
                turns.append(org)
        for org, back in passed.items():
            self._put_back(org, back)
        self._rows -= sum(unit.frame.rows for unit in units)
        self._waiting_bytes -= sum(unit.held_bytes for unit in units)
        return units

    def _orgs(self, held: Set[int]) -> list[int]:
        """Return the orgs of the next batch: one whose next frame is heavy, or those whose next is light."""
        orgs = sorted(self._queues.keys() - held, key=lambda org: self._queues[org].since_ms)
        light = [org for org in orgs if not self._queues[org].heavy]
        if len(orgs) == 1 or len(light) == len(orgs):
            return orgs
        if light and not self._heavy_next:
            self._heavy_next = True
            return light
        self._heavy_next = False
        return [org for org in orgs if self._queues[org].heavy][:1]

    def hold(self, units: Iterable[AcceptedFrame]) -> None:
        """Count the bytes of frames of a begun batch, whatever the bound."""
        for unit in units:
            self._held.add(unit.frame.org_id, unit.held_bytes, unit.frame.agent)

    def release(self, units: Iterable[AcceptedFrame]) -> None:
        """Free the bytes of a finished batch."""
        for unit in units:
            self._held.release(unit.frame.org_id, unit.held_bytes, unit.frame.agent)

    def _next_of(self, org: int, partitions: set[tuple[int, int]], passed: list[_Waiting]) -> _Waiting | None:
        """Remove the org's next frame that fits; append the earlier ones to `passed`."""
        queue = self._queues[org]
        while queue and len(passed) < _MAX_PASSED:
            waiting = queue.popleft()
            if not partitions or len(partitions | waiting.unit.partitions) <= MAX_DAYS:
                return waiting
            passed.append(waiting)
        return None

    def _put_back(self, org: int, passed: list[_Waiting]) -> None:
        queue = self._queues[org]
        queue.put_back(passed)
        if not queue:
            del self._queues[org]
