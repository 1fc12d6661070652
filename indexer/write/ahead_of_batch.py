"""Does a part of a batch's work while it gathers frames: strings, rows, and the look for other indexers.

Nothing of it counts: a failure is ignored, and the batch does and reports it again. Strings may be stored
earlier than samples that have them, never later. It passes the gate as an INSERT does, so that a deletion of
strings sees it whole or not at all. For one event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from indexer.clickhouse.store import StoreError
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.gated_batches import orgs_of
from indexer.write.health import Health, Part
from indexer.write.inserter import Inserter
from indexer.write.shared_pace import SharedPace

log = logging.getLogger(__name__)

#: No frame has come for so long: the interpreter is free. A paced batch waits longer for the next one.
_REST_MS: Final = 15


class AheadOfBatch:
    """Prepares the frames that wait. `on`: batches gather frames."""

    def __init__(
        self,
        inserter: Inserter,
        pace: SharedPace,
        health: Health,
        in_thread: Callable[..., Awaitable[Any]],
        *,
        on: bool,
    ) -> None:
        self._inserter = inserter
        self._pace = pace
        self._health = health
        self._in_thread = in_thread
        self._on = on
        self._until_ms = -1  # frames that came until then are prepared

    def rest_ms(self, last_ms: int, now_ms: int) -> int | None:
        """Return how long to wait until frames are prepared, of which the last came at `last_ms`.

        None: there is nothing to prepare.
        """
        if not self._on or last_ms <= self._until_ms or Part.STORE in self._health.problems():
            return None
        return max(0, last_ms + _REST_MS - now_ms)

    async def prepare(self, units: Sequence[AcceptedFrame], last_ms: int) -> None:
        """Prepare the frames that came until `last_ms`; heavy ones have batches of their own."""
        self._until_ms = last_ms
        light = [unit for unit in units if not unit.heavy]
        orgs = orgs_of(light)
        held = self._inserter.gate.enter(orgs)
        try:
            await self._in_thread(self._prepare, [u for u in light if u.frame.org_id not in held])
        except StoreError as e:
            log.debug("event=not_prepared frames=%d error=%s", len(light), e)
        except Exception:  # a mistake of ours: the batch meets it, too, and is set aside
            log.exception("event=not_prepared frames=%d", len(light))
        finally:
            self._inserter.gate.leave(orgs - held)

    def _prepare(self, units: Sequence[AcceptedFrame]) -> None:
        self._pace.look()
        self._inserter.prepare(units)
