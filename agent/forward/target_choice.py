"""Chooses which of several indexers gets new frames. Pure: callers pass times of a monotonic clock.

Each agent has its own order of the indexers, by rendezvous hashing: agents spread evenly, and where one is
away only its agents move. The first one that works gets new frames. One that failed without a break for
`failover_s` is down, and gets none until it has answered for `return_s`: so agents do not swing to and fro.
While it is down a frame is tried there now and then, unless frames that were sent to it do that anyway:
an indexer that is back and has set such a frame aside postpones it for long, and takes new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from xxhash import xxh64_intdigest


def rendezvous(urls: Iterable[str], agent: str, host: str) -> list[str]:
    """Return the indexers in the order of an agent on a host; the same for the same names, in any order."""
    return sorted(urls, key=lambda url: (-_weight(agent, host, url), url))


def _weight(*names: str) -> int:
    return xxh64_intdigest("\0".join(names).encode(errors="surrogateescape"))


#: An answer is of late for this many times `failover_s`.
_LATELY: Final = 3


class _Target(msgspec.Struct):
    """Since when it fails without a break, whether it is down, since when it answers, when to try next.

    `postpones`: it is there, and postpones frames that it may have. `answered_s`: when it last answered.
    """

    failing_s: float | None = None
    down: bool = False
    back_s: float | None = None
    try_s: float = 0.0
    postpones: bool = False
    answered_s: float | None = None


class TargetChoice:
    """The states of indexers by their places in the order. `gone`: places that get no frames at all."""

    def __init__(
        self, count: int, *, failover_s: float, return_s: float, try_every_s: float, gone: Sequence[int] = ()
    ) -> None:
        self._targets = [_Target() for _ in range(count)]
        self._gone = set(gone)
        self._failover_s = failover_s
        self._return_s = return_s
        self._try_every_s = try_every_s

    def answered(self, at: int, now_s: float) -> None:
        """Note that a target took or refused a frame."""
        target = self._targets[at]
        target.failing_s, target.answered_s = None, now_s
        if target.down and target.back_s is None:
            target.back_s = now_s

    def failed(self, at: int, now_s: float) -> None:
        """Note a try without such an answer."""
        target = self._targets[at]
        target.back_s = None
        target.postpones = False
        target.try_s = now_s + self._try_every_s
        if target.failing_s is None:
            target.failing_s = now_s

    def postponed(self, at: int, now_s: float) -> None:
        """Note that a target answered to wait with a frame that it may have: others it may take.

        One that works has failed by it unless it answered lately.
        """
        target = self._targets[at]
        if self._is_down(at, now_s):
            target.postpones = True
        elif target.answered_s is None or now_s - target.answered_s > _LATELY * self._failover_s:
            self.failed(at, now_s)

    def postpones(self, at: int) -> bool:
        """Return whether the latest such answer, or failure, was to wait with a frame that it may have."""
        return self._targets[at].postpones

    def tried(self, at: int, now_s: float) -> None:
        """Note that a frame is under way to a target."""
        self._targets[at].try_s = now_s + self._try_every_s

    def current(self, now_s: float) -> int:
        """Return the place of the target that gets new frames."""
        here = [at for at in range(len(self._targets)) if at not in self._gone] or [0]
        works = [at for at in here if not self._is_down(at, now_s)]
        answers = [at for at in here if self._targets[at].back_s is not None]
        return (works or answers or here)[0]

    def is_down(self, at: int, now_s: float) -> bool:
        """Return whether a target gets no new frames because it failed, or is gone."""
        return at in self._gone or self._is_down(at, now_s)

    def may_try(self, at: int, now_s: float) -> bool:
        """Return whether a target that is down gets one frame, to learn whether it is back."""
        target = self._targets[at]
        due = target.down and target.back_s is None and target.try_s <= now_s
        return due and at not in self._gone

    def change_in_s(self, now_s: float) -> float:
        """Return the seconds after which `current` or `may_try` may answer otherwise without news."""
        times = [self._try_every_s]
        for target in self._targets:
            if target.failing_s is not None and not target.down:
                times.append(target.failing_s + self._failover_s - now_s)
            if target.back_s is not None:
                times.append(target.back_s + self._return_s - now_s)
            if target.down and target.back_s is None:
                times.append(target.try_s - now_s)
        return max(0.01, min(times))

    def _is_down(self, at: int, now_s: float) -> bool:
        target = self._targets[at]
        if target.failing_s is not None and now_s - target.failing_s >= self._failover_s and not target.down:
            target.down, target.try_s = True, now_s + self._try_every_s
        if target.back_s is not None and now_s - target.back_s >= self._return_s:
            target.down, target.back_s = False, None
        return target.down
