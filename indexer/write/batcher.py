"""Chooses the frames of the next batch. Pure: callers pass times of a monotonic clock.

Frames queue up while a batch is being written and go out together with the next one. The queue is bounded by
bytes: a frame that does not fit is refused, and its sender keeps it. A batch has rows of few days, and orgs
take turns in it: rows of many days from one org do not delay another's. Within an org its agents take turns,
so that the backlog of one does not delay another's live frames. A heavy frame of one org and light frames of
others go in different batches, in turn: the light ones do not wait for the heavy one's INSERT. So do the old
rows of a backfill and all other frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Set
from typing import Final, NamedTuple

from agent.wire.frame import BACKFILL_PREFIX
from indexer.settings import BatchSettings
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.held_bytes import HeldBytes
from indexer.write.split_by_day import MAX_BLOCK_ROWS, MAX_DAYS

#: A paced batch waits for frames while they come in such intervals, and at most so long for the first one.
_GATHER_GAP_MS: Final = 100
_MAX_GATHER_MS: Final = 800
#: Frames of an org that a batch passes over at most, because their days do not fit.
_MAX_PASSED: Final = 1_000


class _Waiting(NamedTuple):
    unit: AcceptedFrame
    since_ms: int


class _Source(NamedTuple):
    """An org and whether its frames are old rows of backfills; sources take turns."""

    org: int
    backfill: bool


class _Queue:
    """The frames of one source: agents take turns, and frames of one agent keep their order."""

    def __init__(self, source: _Source) -> None:
        self._backfill = source.backfill
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
        """Whether others should not wait for the next frame."""
        return self._backfill or next(iter(self._of_agents.values()))[0].unit.heavy

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
    of a second batch would wait for its parts. Chunks of backfills are divided from it later
    (indexer/write/batch_claims.py).
    """

    def __init__(self, settings: BatchSettings, queue_bytes: int, *, paced: bool = False) -> None:
        self._settings = settings
        # No row of several frames may change its INSERT when one of them leaves the batch.
        self._max_rows = min(settings.rows, MAX_BLOCK_ROWS)
        self._paced = paced
        self.last_ms = 0  # when the last frame came
        self._held = HeldBytes(queue_bytes)
        self._queues: dict[_Source, _Queue] = {}  # none is empty
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
        backfill = not self._paced and unit.frame.agent.startswith(BACKFILL_PREFIX)
        source = _Source(unit.frame.org_id, backfill)
        self._queues.setdefault(source, _Queue(source)).append(_Waiting(unit, now_ms))
        self.last_ms = now_ms
        self._rows += unit.frame.rows
        self._waiting_bytes += unit.held_bytes
        return True

    def ready_in_ms(self, now_ms: int, pace_ms: int = 0, held: Set[int] = frozenset()) -> int | None:
        """Return the milliseconds until a batch is due: 0 is now, None is never (nothing waits).

        A batch that is not full waits for at least `pace_ms`. Frames of the orgs `held` do not count.
        """
        queues = [queue for source, queue in self._queues.items() if source.org not in held]
        if not queues:
            return None
        rows, size = self._rows, self._waiting_bytes
        if len(queues) < len(self._queues):
            rows = sum(unit.frame.rows for queue in queues for unit in queue.units())
            size = sum(unit.held_bytes for queue in queues for unit in queue.units())
        if rows >= self._max_rows or size >= self._settings.bytes:
            return 0
        oldest_ms = min(queue.since_ms for queue in queues)
        due_ms = oldest_ms + self._settings.linger_ms
        if self._paced:
            due_ms = max(due_ms, min(self.last_ms + _GATHER_GAP_MS, oldest_ms + _MAX_GATHER_MS))
        return max(0, pace_ms, due_ms - now_ms)

    def waiting(self, held: Set[int] = frozenset()) -> list[AcceptedFrame]:
        """Return the frames that wait, of orgs not `held`."""
        return [u for source in self._free(held) for u in self._queues[source].units()]

    def take(self, held: Set[int] = frozenset()) -> list[AcceptedFrame]:
        """Return the next batch, up to the bounds, at least one frame if any waits of orgs not `held`.

        Orgs take turns, the one whose frame waits longest first, and within an org its agents. The frames of
        an agent keep their order, except for those whose days do not fit.
        """
        units: list[AcceptedFrame] = []
        rows = size = 0
        partitions: set[tuple[int, int]] = set()
        passed: dict[_Source, list[_Waiting]] = {source: [] for source in self._queues}
        alone = len(self._free(held)) == 1
        turns = deque(self._sources(held))
        while turns:
            source = turns.popleft()
            waiting = self._next_of(source, partitions, passed[source])
            if waiting is None:
                continue
            unit = waiting.unit
            rows += unit.frame.rows
            size += unit.held_bytes
            if units and (rows > self._max_rows or size > self._settings.bytes):
                passed[source].append(waiting)
                break
            units.append(unit)
            partitions |= unit.partitions
            if self._queues[source] and (
                alone or self._queues[source].heavy == (unit.heavy or source.backfill)
            ):
                turns.append(source)
        for source, back in passed.items():
            self._put_back(source, back)
        self._rows -= sum(unit.frame.rows for unit in units)
        self._waiting_bytes -= sum(unit.held_bytes for unit in units)
        return units

    def _free(self, held: Set[int]) -> list[_Source]:
        return [source for source in self._queues if source.org not in held]

    def _sources(self, held: Set[int]) -> list[_Source]:
        """Return the sources of the next batch: one with a heavy next frame, or those with a light one."""
        sources = sorted(self._free(held), key=lambda source: self._queues[source].since_ms)
        light = [source for source in sources if not self._queues[source].heavy]
        if len(light) == len(sources):
            return sources
        if light and not self._heavy_next:
            self._heavy_next = True
            return light
        self._heavy_next = False
        return [source for source in sources if self._queues[source].heavy][:1]

    def hold(self, units: Iterable[AcceptedFrame]) -> None:
        """Count the bytes of frames of a begun batch, whatever the bound."""
        for unit in units:
            self._held.add(unit.frame.org_id, unit.held_bytes, unit.frame.agent)

    def release(self, units: Iterable[AcceptedFrame]) -> None:
        """Free the bytes of a finished batch."""
        for unit in units:
            self._held.release(unit.frame.org_id, unit.held_bytes, unit.frame.agent)

    def _next_of(
        self, source: _Source, partitions: set[tuple[int, int]], passed: list[_Waiting]
    ) -> _Waiting | None:
        """Remove the source's next frame that fits; append the earlier ones to `passed`."""
        queue = self._queues[source]
        while queue and len(passed) < _MAX_PASSED:
            waiting = queue.popleft()
            if not partitions or len(partitions | waiting.unit.partitions) <= MAX_DAYS:
                return waiting
            passed.append(waiting)
        return None

    def _put_back(self, source: _Source, passed: list[_Waiting]) -> None:
        queue = self._queues[source]
        queue.put_back(passed)
        if not queue:
            del self._queues[source]
