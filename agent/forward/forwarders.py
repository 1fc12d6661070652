"""Sends to several indexers: a forwarder for each, over its lane, and their counters as one.

Owns which indexers there are (`agent.forward.urls`, in the agent's order) and how all of them end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from agent.config.secrets import masked_url
from agent.forward.channel import Channel, Outcome
from agent.forward.credentials import Credentials
from agent.forward.current_channel import CurrentChannel
from agent.forward.forwarder import Forwarder
from agent.forward.lanes import TRY_EVERY_S, Lane, Lanes
from agent.forward.sending import target_label
from agent.forward.spool.bindings import Bindings
from agent.forward.spool.spool import Spool
from agent.forward.target_choice import TargetChoice, rendezvous
from agent.runtime.logs import Log
from agent.settings import ForwardSettings


class Forwarders:
    """Sends each frame to one of several indexers. Counters are the sums of all."""

    def __init__(
        self,
        settings: ForwardSettings,
        spool: Spool,
        bindings: Bindings,
        log: Log,
        credentials: Credentials,
        *,
        agent: str,
        host: str,
    ) -> None:
        urls = rendezvous(settings.targets, agent, host)
        gone = {url: url in settings.journals_lost for url in settings.gone}
        choice = TargetChoice(
            len(urls),
            failover_s=settings.failover_s,
            return_s=settings.return_s,
            try_every_s=TRY_EVERY_S,
            gone=[at for at, url in enumerate(urls) if url in gone],
        )
        self.lanes = Lanes(spool, bindings, urls, choice, gone)
        self._spool = spool
        self._all = [
            Forwarder(
                settings.to(url),
                Lane(self.lanes, at, spool),
                log,
                credentials=credentials,
                release_of=self.lanes.release_of,
            )
            for at, url in enumerate(urls)
        ]
        for url in sorted(bindings.urls() - set(urls) - set(gone)):
            hint = "agent.forward.gone releases them"
            log.warning("frames_of_another_indexer", url=masked_url(url), hint=hint)

    def channel(
        self, settings: ForwardSettings, path: str, content_type: str, credentials: Credentials | None
    ) -> CurrentChannel:
        """Return a channel to whichever indexer gets new frames, for heartbeats and metadata."""
        channels = {
            url: Channel(settings.to(url), path, content_type, credentials) for url in self.lanes.urls
        }
        return CurrentChannel(channels, self.lanes.current)

    def targets(self) -> Mapping[str, tuple[int, bool]]:
        """Return the frames that wait for each indexer alone, and whether it gets new ones."""
        current = self.lanes.current()
        held = self.lanes.held_frames()
        return {target_label(url): (count, url == current) for url, count in held.items()}

    def start(self) -> None:
        """Start the threads."""
        for forwarder in self._all:
            forwarder.start()

    def drain(self, deadline_s: float) -> bool:
        """Send the remaining frames for at most `deadline_s`, then stop; return whether none is left.

        With a spool on disk it ends when no indexer takes any: the next run sends the rest.
        """
        for forwarder in self._all:
            forwarder.begin_drain()
        empty = self._spool.wait_empty(deadline_s, self._gives_up)
        for forwarder in self._all:
            forwarder.end_drain()
        self._spool.close()
        if empty:
            for forwarder in self._all:
                forwarder.join()
        return empty

    def _gives_up(self) -> bool:
        """Return whether frames are on disk and the indexers that have some do not answer."""
        held, current = self.lanes.held_frames(), self.lanes.current()
        waits = [f for f, u in zip(self._all, self.lanes.urls, strict=True) if held[u] or u == current]
        return self._spool.on_disk and all(forwarder.failed_draining for forwarder in waits)

    @property
    def failures_in_a_row(self) -> int:
        """Consecutive failures of the indexer that gets new frames."""
        return self._current.failures_in_a_row

    @property
    def warning(self) -> str:
        """Nothing: each indexer has an address of its own."""
        return ""

    @property
    def problem(self) -> str:
        """Text of its last failed try."""
        return self._current.problem

    @property
    def last_success_s(self) -> float:
        """When any indexer last accepted a frame, in Unix seconds."""
        return max(forwarder.last_success_s for forwarder in self._all)

    @property
    def sent_frames(self) -> int:
        """Frames that were accepted."""
        return sum(forwarder.sent_frames for forwarder in self._all)

    @property
    def sent_rows(self) -> int:
        """Rows that were accepted."""
        return sum(forwarder.sent_rows for forwarder in self._all)

    @property
    def sent_lines(self) -> int:
        """Lines of frames that were accepted."""
        return sum(forwarder.sent_lines for forwarder in self._all)

    @property
    def sent_bytes(self) -> int:
        """Bytes of frames that were accepted."""
        return sum(forwarder.sent_bytes for forwarder in self._all)

    @property
    def retries(self) -> Counter[Outcome]:
        """Failed tries by reason."""
        return _sum(forwarder.retries for forwarder in self._all)

    @property
    def dropped_frames(self) -> Counter[Outcome]:
        """Refused frames by reason."""
        return _sum(forwarder.dropped_frames for forwarder in self._all)

    @property
    def dropped_rows(self) -> Counter[Outcome]:
        """Rows of refused frames by reason."""
        return _sum(forwarder.dropped_rows for forwarder in self._all)

    @property
    def dropped_lines(self) -> Counter[Outcome]:
        """Lines of refused frames by reason."""
        return _sum(forwarder.dropped_lines for forwarder in self._all)

    @property
    def _current(self) -> Forwarder:
        return self._all[self.lanes.urls.index(self.lanes.current())]


def _sum(counters: Iterable[Counter[Outcome]]) -> Counter[Outcome]:
    return sum(counters, Counter())
