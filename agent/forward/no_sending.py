"""The forwarding of an agent without an indexer: nothing is sent, so nothing fails.

Implements `Sending` and the channel of heartbeats. The agent puts no frame into the spool then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from agent.forward.channel import Answer, Outcome


class NoSending:
    """Counts nothing, since there is nothing to count."""

    sent_frames = 0
    sent_rows = 0
    sent_lines = 0
    sent_bytes = 0
    last_success_s = 0.0
    problem = ""
    warning = ""
    failures_in_a_row = 0

    def __init__(self) -> None:
        self.retries: Counter[Outcome] = Counter()
        self.dropped_frames: Counter[Outcome] = Counter()
        self.dropped_rows: Counter[Outcome] = Counter()
        self.dropped_lines: Counter[Outcome] = Counter()

    def targets(self) -> Mapping[str, tuple[int, bool]]:
        """Return no indexer."""
        return {}

    def start(self) -> None:
        """Do nothing."""

    def drain(self, deadline_s: float) -> bool:  # noqa: ARG002 - Sending's
        """Return at once: no frame is left."""
        return True


class NoChannel:
    """Accepts every body and sends none."""

    def send(self, data: bytes) -> Answer:  # noqa: ARG002 - SendsBodies'
        """Drop a body."""
        return Answer(Outcome.ACCEPTED)

    def close(self) -> None:
        """Do nothing."""


def no_channel(*_: object) -> NoChannel:
    """Open a channel that sends nothing."""
    return NoChannel()
