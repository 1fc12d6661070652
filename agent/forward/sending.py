"""The interface of the sending of frames, to one indexer or to several, with its counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from agent.config.secrets import masked_url
from agent.forward.channel import Outcome


class Sending(Protocol):
    """Sends frames, and counts them."""

    @property
    def sent_frames(self) -> int:
        """Frames that were accepted."""

    @property
    def sent_rows(self) -> int:
        """Rows that were accepted."""

    @property
    def sent_lines(self) -> int:
        """Lines of accepted frames."""

    @property
    def sent_bytes(self) -> int:
        """Bytes of accepted frames."""

    @property
    def last_success_s(self) -> float:
        """When a frame was last accepted, in Unix seconds."""

    @property
    def retries(self) -> Counter[Outcome]:
        """Failed tries by reason."""

    @property
    def dropped_frames(self) -> Counter[Outcome]:
        """Refused frames by reason."""

    @property
    def dropped_rows(self) -> Counter[Outcome]:
        """Rows of refused frames by reason."""

    @property
    def dropped_lines(self) -> Counter[Outcome]:
        """Lines of refused frames by reason."""

    @property
    def warning(self) -> str:
        """A fault of the settings that costs time alone, for operators; empty: none."""

    @property
    def problem(self) -> str:
        """Text of the last failed try; empty while the indexer answers."""

    @property
    def failures_in_a_row(self) -> int:
        """Consecutive failures; 0 while the indexer answers."""

    def targets(self) -> Mapping[str, tuple[int, bool]]:
        """Return the frames that wait for each indexer alone, and whether it gets new ones."""

    def start(self) -> None:
        """Start sending."""

    def drain(self, deadline_s: float) -> bool:
        """Send the remaining frames for at most `deadline_s`, then stop; return whether none is left."""


def target_label(url: str) -> str:
    """Return a URL without its password, as the value of a label."""
    return masked_url(url).replace("\\", "%5C").replace('"', "%22").replace("\n", "%0A")
