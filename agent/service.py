"""The agent as a whole: listeners -> core -> frames -> spool -> forwarder.

Owns the clock and the order of starting and stopping. agent/frame_maker.py flushes buckets and makes frames.
Once per bucket a heartbeat reports the agent's progress to the indexer (agent/forward/heartbeat_sender.py).

Starting: read the last values of gauges, then listen. Stopping (SIGTERM, SIGINT or `Loop.stop`): stop
accepting and read the rest from the kernel, flush all buckets, write the last values of gauges, send until
`drain_s` is over (with a spool on disk: or until a try fails), write the rest to the spool, exit. Sending has
threads of its own, and so has a native core for datagrams. Everything else runs in one thread, in steps of a
few milliseconds, so that sockets are read in between.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

from agent.config.secrets import masked_url
from agent.core.factory import open_core
from agent.core.saved_gauges import SavedGauges, open_directory
from agent.exposition.open_exposition import let_describe, open_exposition
from agent.forward.heartbeat_sender import AnswerHandlers, HeartbeatSender, LineCounts
from agent.forward.open_metadata_sender import announce, open_metadata_sender
from agent.forward.open_sending import OpenedSending, open_sending
from agent.forward.spool.age import SpoolAge
from agent.forward.spool.open_spool import open_spool, steady_clock
from agent.forward.spool.timers import SpoolTimers
from agent.frame_maker import FrameMaker, whole_buckets
from agent.mapping.open_mapper import open_mapper
from agent.net.fd_limit import connection_limit
from agent.receive.listeners import Listeners, stream_listeners
from agent.runtime import logs
from agent.runtime.asked_reloads import AskedReloads
from agent.runtime.clock import Clock
from agent.runtime.loop import Loop
from agent.runtime.loop_signals import loop_signals
from agent.runtime.reload_actions import ReloadAction
from agent.runtime.service_manager import ServiceManager
from agent.settings import AgentSettings, Tls
from agent.telemetry.admin_http import AdminServer, MorePages
from agent.telemetry.metrics import MetricSources, exposition
from agent.telemetry.refused_lines import RefusedLines
from agent.telemetry.top_series import top_series
from agent.wire.frame import Sender

if TYPE_CHECKING:
    from agent.mapping.mapper import Mapper
    from agent.mapping.mapping_reload import MappingReload
    from agent.receive.tls_listener import TlsAcceptor

# The agent's own data has no reference cycles (agent/aggregate/state.py): searching for them in a million
# cells would only cost time. A young collection per 100,000 new objects remains for those of libraries.
_GC_THRESHOLDS: Final = (100_000, 1_000, 1_000)


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses where the agent listens: `host:port`, or a path for Unix sockets; empty if off."""

    udp: str = ""
    tcp: str = ""
    unix: str = ""
    unix_stream: str = ""
    ops: str = ""


def run(
    settings: AgentSettings,
    *,
    ready: Callable[[Addresses], None] | None = None,
    loop: Loop | None = None,
    start_wait_s: float = 0.0,
    orphaned: Callable[[], bool] = lambda: False,
    manager: ServiceManager | None = None,
    on_reload: Mapping[str, ReloadAction] = MappingProxyType({}),
) -> int:
    """Run the agent until SIGTERM or SIGINT, or `loop.stop()`.

    Returns 0 if all received lines were sent or are on disk, else 1.

    Calls `ready` once all sockets are bound. Waits up to `start_wait_s` for resources of an agent that is
    leaving: addresses, and the lock of the state directory. `orphaned` tells at the end whether the parent
    process is gone: another one may then be about to start in its place. `manager` hears of start and end,
    SIGHUP runs `on_reload`, and so does `POST /-/reload` of its HTTP port.
    Raises OSError, with a text for the user, if a socket cannot be bound.
    """
    manager = manager or ServiceManager()
    if loop is None:
        with Loop() as loop:
            return run(
                settings,
                ready=ready,
                loop=loop,
                start_wait_s=start_wait_s,
                orphaned=orphaned,
                manager=manager,
                on_reload=on_reload,
            )
    logs.setup()
    actions = dict(on_reload)
    reloads = AskedReloads(actions, loop.call_soon_threadsafe)
    with loop_signals(loop, reloads.run), _little_garbage_collection():
        agent = Agent(settings, loop, start_wait_s, reloads.ask)
        actions.update(agent.reload_actions)
        try:
            agent.start()
            if ready:
                ready(agent.addresses)
            manager.ready("receives lines")
            manager.keep_alive(loop.call_later)
            loop.run()
        finally:
            manager.stopping()
            sent = agent.stop(orphaned=orphaned())
    return 0 if sent else 1


@contextlib.contextmanager
def _little_garbage_collection() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _acceptor(section: str, settings: Tls, log: logs.Log) -> TlsAcceptor | None:
    """Return the TLS of a listener; None if it is off. Raises TlsError."""
    if not settings.cert:
        return None
    from agent.net.tls import listener_contexts  # only with TLS: ssl costs memory
    from agent.receive.tls_listener import TlsAcceptor

    return TlsAcceptor(listener_contexts(section, settings, log), log)


def _sender(settings: AgentSettings) -> Sender:
    """Return the sender of all frames of this process."""
    return Sender(
        agent=settings.name or socket.gethostname(),
        epoch=time.time_ns(),
        org_id=settings.org_id,
        project_id=settings.project_id,
        retention_days=settings.retention_days,
    )


class Agent:
    """The parts of one running agent: `start`, then the loop runs, then `stop`.

    `reload` reads files again, for threads of the HTTP port.
    """

    def __init__(
        self,
        settings: AgentSettings,
        loop: Loop,
        start_wait_s: float = 0.0,
        reload: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._settings = settings
        self._reload = reload
        self._start_wait_s = start_wait_s
        self._log = logs.Log()
        self._loop = loop
        self._thread = threading.get_ident()
        self._clock = Clock(round(settings.max_skew_s * 1000))
        self._mapper = open_mapper(settings, self._log)
        self._core = open_core(settings, self._mapper, self._woken, self._log)
        self._steady_ms = steady_clock()
        self._spool = open_spool(settings, self._steady_ms, self._log, start_wait_s)
        self._spool_age = SpoolAge(self._spool, settings.spool.max_age_s, self._log)
        checkpoint_ms = settings.spool.checkpoint_ms
        self._timers = SpoolTimers(loop, self._spool, self._log, checkpoint_ms, self._checkpoint)
        sending = open_sending(settings, self._spool, self._log)
        self._forwarder = sending.forwarder
        self._sends = settings.forward.sends
        self._open_announcer = partial(
            open_metadata_sender,
            settings=settings,
            log=self._log,
            credentials=sending.credentials,
            open_channel=sending.open_channel,
        )
        self._announcer = self._open_announcer(self._mapper if self._sends else None)
        self._exposition = open_exposition(settings, self._mapper)
        tcp_tls = _acceptor("agent.tcp_tls", settings.tcp_tls, self._log)
        self._ops_tls = _acceptor("agent.ops_tls", settings.ops_tls, self._log)
        self._inputs = Listeners(
            loop, settings, self._core.receive, self._receive, self._log, tcp_tls=tcp_tls
        )
        directory = open_directory(settings.state_dir, self._log, start_wait_s)
        self._state = SavedGauges(directory, self._core, loop, self._log, settings.state_interval_s)
        sender = _sender(settings)
        flushed_ms = whole_buckets(self._clock.now_ms())
        self._beats = self._heartbeats(sender, sending, flushed_ms)
        self._mapping_reload = self._open_mapping_reload()
        self._sources = self._metric_sources()
        self._frames = FrameMaker(
            settings, loop, sender, self._sources, flushed_ms, lambda: self._inputs.behind, self._log
        )
        self._refused = RefusedLines(self._core, loop, self._log)
        self._ops: AdminServer | None = None
        self._ready = False
        self.addresses = Addresses()

    def _heartbeats(self, sender: Sender, sending: OpenedSending, flushed_ms: int) -> HeartbeatSender:
        """Return the sender of heartbeats; their answers tell the indexer's time."""
        return HeartbeatSender(
            self._settings.forward,
            sender,
            self._spool,
            flushed_ms,
            self._log,
            credentials=sending.credentials,
            handlers=AnswerHandlers(
                clock=self._clock,
                open_channel=sending.open_channel,
                retimed=lambda: self._loop.call_soon_threadsafe(self._frames.look_at_clock),
                remembers=self._spool_age.remembers,
            ),
            counts=self._line_counts,
        )

    def _metric_sources(self) -> MetricSources:
        """Return the parts whose counters /metrics shows."""
        return MetricSources(
            core=self._core,
            inputs=self._inputs,
            spool=self._spool,
            steady_ms=self._steady_ms,
            timers=self._timers,
            forwarder=self._forwarder,
            beats=self._beats,
            clock=self._clock,
            state=self._state,
            mapper=self._mapper,
            mapping_reload=self._mapping_reload,
            announcer=self._announcer,
            ops_tls=self._ops_tls,
            exposition=self._exposition,
        )

    def _open_mapping_reload(self) -> MappingReload | None:
        if self._mapper is None:
            return None
        from agent.mapping.mapping_reload import MappingReload  # only with a mapping file

        return MappingReload(self._settings, self._mapper, self._take_mapper, self._log)

    def _take_mapper(self, mapper: Mapper) -> None:
        """Go on with the mapper of a changed file, and with its descriptions of metrics."""
        if self._announcer:
            self._announcer.forget()
            announce(mapper, self._announcer)
        elif announcer := self._open_announcer(mapper if self._sends else None):
            self._announcer = self._sources.announcer = announcer
            announcer.start()
        if self._exposition:
            let_describe(mapper, self._exposition)
        self._core.remap(mapper)
        self._mapper = self._sources.mapper = mapper

    @property
    def reload_actions(self) -> Mapping[str, ReloadAction]:
        """The files that SIGHUP reads again."""
        return {"mapping": self._mapping_reload} if self._mapping_reload else {}

    def start(self) -> None:
        """Bind all sockets, waiting for those in use, and start reading. Raises OSError."""
        self._state.start()
        self._inputs.open(self._start_wait_s)
        self._frames.start()
        self._timers.start()
        if self._settings.ops:
            self._ops = AdminServer(
                self._settings.ops,
                lambda: exposition(self._sources),
                self._unready,
                self._ops_tls,
                self._start_wait_s,
                connection_limit(stream_listeners(self._settings), self._settings.ops_connections),
                MorePages(
                    top=lambda: top_series(self._core),
                    warning=self._warning,
                    scraped=self._exposition.answer if self._exposition else None,
                    reload=self._reload,
                ),
            )
        self._refused.start()
        self._forwarder.start()
        if self._sends:
            self._beats.start()
        if self._announcer:
            self._announcer.start()
        at = {**self._inputs.addresses, **({"ops": self._ops.address} if self._ops else {})}
        self.addresses = Addresses(**at)
        self._ready = True
        self._log.info("listening", **at, indexer=self._indexers())

    def _indexers(self) -> str:
        return " ".join(masked_url(url) for url in self._settings.forward.targets) or "none"

    def _unready(self) -> str:
        if not self._ready:
            return "starting or stopping"
        failures, problem = self._forwarder.failures_in_a_row, self._forwarder.problem
        kept = "on disk" if self._spool.on_disk else "in memory"
        if self._timers.problem:
            return self._timers.problem
        return f"{problem} ({failures} failures in a row; frames are kept {kept})" if failures else ""

    def _warning(self) -> str:
        return "\n".join(filter(None, (self._spool_age.warning, self._forwarder.warning)))

    def _receive(self, lines: bytes, client: bytes) -> None:
        self._frames.make_room()
        self._core.add(lines, self._clock.now_ms(), client)

    def _woken(self) -> None:
        """Schedule frames after an early flush of the core; called from any thread."""
        if threading.get_ident() == self._thread:
            self._frames.hand_over(True)
            self._frames.make_room()
        else:
            self._loop.call_soon_threadsafe(partial(self._frames.hand_over, True))

    def _checkpoint(self) -> bool:
        return self._frames.checkpoint()

    def _line_counts(self) -> LineCounts:
        """Return the counts for heartbeats; called in their thread."""
        stats = self._core.stats
        return LineCounts(stats.lines, {reason.value: n for reason, n in stats.bad.items() if n})

    def stop(self, *, orphaned: bool = False) -> bool:
        """Read the rest from the kernel, flush, send until the deadline; return whether nothing is lost.

        An `orphaned` agent releases all its addresses first: another agent may wait for them. With a spool on
        disk it sends nothing more: the other agent sends it.
        """
        self._ready = False
        if orphaned:
            self._log.warning(
                "parent_gone", effect="accepts no more lines, sends or keeps its frames, and exits"
            )
            if self._ops:
                self._ops.stop()
        self._inputs.close()
        self._frames.finish()
        self._refused.look()
        self._state.stop()
        at_once = orphaned and self._spool.on_disk
        sent = self._forwarder.drain(0.0 if at_once else self._settings.forward.drain_s)
        lost = 0
        if not sent:
            lost = self._spool.keep_all()
            frames, size = self._spool.unsent_frames, self._spool.unsent_bytes
            self._log.warning("unsent_at_exit", frames=frames, bytes=size, on_disk=frames - lost)
        self._spool.leave()
        if self._sends:
            self._beats.stop()
        if self._announcer:
            self._announcer.stop()
        if self._ops:
            self._ops.stop()
        self._core.close()
        self._log.info("stopped", frames_sent=self._forwarder.sent_frames, all_sent=sent)
        return not lost
