"""Problems of this server that an operator should see: `/api/v1/notifications`. Thread-safe.

Source: Prometheus 3.x `util/notifications`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

#: Notices of one topic; further ones are counted in the last.
_MAX_NOTICES: Final = 100


@dataclass(frozen=True, slots=True)
class ServerNotice:
    """A problem that lasts. `since_s`: Unix seconds."""

    text: str
    since_s: float


class ServerNotices:
    """The problems of each topic, each with the time at which it was first seen."""

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._topics: dict[str, list[ServerNotice]] = {}

    def replace(self, topic: str, texts: Sequence[str]) -> None:
        """Set the problems of a topic; none: they are over."""
        shown = list(texts[:_MAX_NOTICES])
        if len(texts) > _MAX_NOTICES:
            shown[-1] = f"{len(texts) - _MAX_NOTICES + 1} further problems of {topic}"
        with self._lock:
            before = {notice.text: notice for notice in self._topics.get(topic, [])}
            now_s = self._now_s()
            self._topics[topic] = [before.get(text) or ServerNotice(text, now_s) for text in shown]

    def all(self) -> list[ServerNotice]:
        """Return all problems, the oldest first."""
        with self._lock:
            found = [notice for notices in self._topics.values() for notice in notices]
        return sorted(found, key=lambda notice: notice.since_s)
