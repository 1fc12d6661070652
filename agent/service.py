"""The agent as a whole: listeners -> core -> frames -> spool -> forwarder.

Owns the clock, the order of starting and stopping, and when buckets are flushed:

* `delay_ms` after the end of each bucket; lines for older buckets at most `late_ms` after they came;
* everything at once when the core is full (it does so by itself), and at the end.

Stopping (SIGTERM, SIGINT or the event): stop accepting and take what the kernel holds, flush all buckets,
send until `drain_s` is over, exit. Sending has threads of its own, and so has a native core for datagrams.
All else runs in one asyncio thread, in steps of a few milliseconds, so that sockets are read in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from agent import logs
from agent.build_frame import Sender
from agent.core import open_core
from agent.forwarder import Forwarder
from agent.frame import BUCKET_SECONDS, encode
from agent.inputs import Inputs
from agent.mapping import Mapper
from agent.metrics import Sources, exposition
from agent.ops import OpsServer
from agent.settings import AgentSettings
from agent.spool import Parcel, Spool

# The agent's own data has no reference cycles (agent/cells.py): looking for them among a million cells would
# only cost time. A young collection once in 100,000 new objects is left for those of libraries.
_GC_THRESHOLDS: Final = (100_000, 1_000, 1_000)
#: Batches read between two frames at most, when packets pile up.
_TURNS_PER_FRAME: Final = 16
_BUCKET_MS: Final = BUCKET_SECONDS * 1000


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where the agent listens: `host:port`, or a path for Unix sockets; empty if off."""

    udp: str = ""
    tcp: str = ""
    unix: str = ""
    unix_stream: str = ""
    ops: str = ""


async def run(
    settings: AgentSettings,
    *,
    ready: Callable[[Addresses], None] | None = None,
    stop: asyncio.Event | None = None,
) -> int:
    """Runs the agent until `stop` is set, or SIGTERM or SIGINT comes. 0 if all it took was sent, else 1.

    Calls `ready` once all sockets are bound. Raises OSError, with a text for people, if one cannot be.
    """
    logs.setup()
    stop = stop or asyncio.Event()
    with _signals(stop), _little_garbage_collection():
        agent = Agent(settings)
        try:
            agent.start()
            if ready:
                ready(agent.addresses)
            await agent.work(stop)
        finally:
            sent = await agent.stop()
    return 0 if sent else 1


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to whoever runs us
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _little_garbage_collection() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _mapper(settings: AgentSettings, log: logs.Log) -> Mapper | None:
    if not settings.mapping:
        return None
    from agent import mapping_file  # not where there is none: YAML is memory

    file = mapping_file.read(settings.mapping)
    log.info("mapping", file=settings.mapping, rules=len(file.rules), notes=len(file.notes))
    return file.mapper(settings.lines)


class Agent:
    """The parts of one running agent. `start`, then `work`, then `stop`, in one event loop."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._log = logs.Log()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._something_flushed = asyncio.Event()
        mapper = _mapper(settings, self._log)
        self._core = open_core(settings, mapper, self._woken, self._log)
        self._spool = Spool(settings.forward.max_unsent_bytes)
        self._forwarder = Forwarder(settings.forward, self._spool, self._log)
        self._inputs = Inputs(settings, self._core, self._receive, self._log)
        self._sources = Sources(
            core=self._core, inputs=self._inputs, spool=self._spool, forwarder=self._forwarder, mapper=mapper
        )
        self._sender = Sender(
            agent=settings.name or socket.gethostname(),
            epoch=time.time_ns(),
            org_id=settings.org_id,
            project_id=settings.project_id,
            retention_days=settings.retention_days,
        )
        self._sequence = 1  # of the next frame
        self._ops: OpsServer | None = None
        self._ready = False
        self.addresses = Addresses()

    def start(self) -> None:
        """Binds all sockets and starts reading. Raises OSError."""
        self._inputs.open()
        if self._settings.ops:
            self._ops = OpsServer(self._settings.ops, lambda: exposition(self._sources), self._unready)
        self._forwarder.start()
        at = {**self._inputs.addresses, **({"ops": self._ops.address} if self._ops else {})}
        self.addresses = Addresses(**at)
        self._ready = True
        self._log.info("listening", **at, indexer=self._settings.forward.url)

    def _unready(self) -> str:
        if not self._ready:
            return "starting or stopping"
        failures = self._forwarder.failures_in_a_row
        return f"the indexer does not take frames ({failures} failures in a row)" if failures else ""

    def _receive(self, lines: bytes) -> None:
        self._make_room()
        self._core.add(lines, _now_ms())

    def _make_room(self) -> None:
        while self._core.full and self._make_frame():
            pass

    def _woken(self) -> None:
        """Called by the core, from any thread, after an early flush."""
        if threading.get_ident() == self._thread:
            self._hand_over(True)
            self._make_room()
        else:
            self._loop.call_soon_threadsafe(self._hand_over, True)

    async def work(self, stop: asyncio.Event) -> None:
        """Flushes and makes frames until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            work = (self._flush_in_time(), self._make_frames(), self._inputs.keep_relays())
            running = [tasks.create_task(one) for one in work]
            await stop.wait()
            for task in running:
                task.cancel()

    async def _flush_in_time(self) -> None:
        delay_ms, late_ms = self._settings.flush.delay_ms, self._settings.flush.late_ms
        while True:
            now_ms = _now_ms()
            bucket_left_ms = _BUCKET_MS - (now_ms - delay_ms) % _BUCKET_MS
            await asyncio.sleep(min(bucket_left_ms, late_ms) / 1000)
            self._hand_over(self._core.flush(_now_ms() - delay_ms))

    def _hand_over(self, flushed: bool) -> None:
        if flushed:
            self._something_flushed.set()
            self._sources.last_flush_s = time.time()

    async def _make_frames(self) -> None:
        while True:
            await self._something_flushed.wait()
            self._something_flushed.clear()
            while self._make_frame():
                await self._let_read()

    async def _let_read(self) -> None:
        """The sockets' turn: until they have caught up, but not for ever, since frames free memory."""
        await asyncio.sleep(0)
        for _ in range(_TURNS_PER_FRAME):
            if not self._inputs.behind:
                return
            await asyncio.sleep(0)

    def _make_all_frames(self) -> None:
        while self._make_frame():
            pass

    def _make_frame(self) -> bool:
        """Makes one frame of what was flushed and puts it into the spool; False if nothing was left."""
        flush = self._settings.flush
        frame = self._core.next_frame(
            self._sender,
            self._sequence,
            _now_ms(),
            max_rows=flush.max_frame_rows,
            max_bytes=flush.max_frame_bytes,
        )
        if frame is None:
            return False
        self._sequence += 1
        self._spool.put(Parcel(frame.identity, encode(frame), frame.rows))
        return True

    async def stop(self) -> bool:
        """Takes what the kernel holds, flushes, sends until the deadline. True if nothing is left."""
        self._ready = False
        self._inputs.close()
        self._hand_over(self._core.flush_all(_now_ms()))
        self._make_all_frames()
        sent = await asyncio.to_thread(self._forwarder.drain, self._settings.forward.drain_s)
        if not sent:
            self._log.warning(
                "unsent_at_exit", frames=self._spool.unsent_frames, bytes=self._spool.unsent_bytes
            )
        if self._ops:
            self._ops.stop()
        self._core.close()
        self._log.info("stopped", frames_sent=self._forwarder.sent_frames, all_sent=sent)
        return sent
