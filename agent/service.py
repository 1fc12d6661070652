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
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from agent import logs
from agent.addresses import bind, bind_unix, grow_receive_buffer, name_of
from agent.build_frame import Sender
from agent.core import DatagramReceiver, ReceiveOptions, open_core
from agent.forwarder import Forwarder
from agent.frame import BUCKET_SECONDS, encode
from agent.metrics import AgentCollector, Sources, exposition
from agent.ops import OpsServer
from agent.settings import AgentSettings
from agent.spool import Parcel, Spool
from agent.streams import StreamListener

# The agent's own data has no reference cycles (agent/cells.py): looking for them among a million cells would
# only cost time. A young collection once in 100,000 new objects is left for those of libraries.
_GC_THRESHOLDS: Final = (100_000, 1_000, 1_000)
#: Batches read between two frames at most, when packets pile up.
_TURNS_PER_FRAME: Final = 16
_BUCKET_MS: Final = BUCKET_SECONDS * 1000


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where the agent listens: `host:port`, or a path for `unix`; empty if off."""

    udp: str = ""
    tcp: str = ""
    unix: str = ""
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


class Agent:
    """The parts of one running agent. `start`, then `work`, then `stop`, in one event loop."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._log = logs.Log()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._something_flushed = asyncio.Event()
        self._core = open_core(settings, None, self._woken, self._log)
        self._spool = Spool(settings.forward.max_unsent_bytes)
        self._forwarder = Forwarder(settings.forward, self._spool, self._log)
        self._sources = Sources(core=self._core, spool=self._spool, forwarder=self._forwarder)
        self._sender = Sender(
            agent=settings.name or socket.gethostname(),
            epoch=time.time_ns(),
            org_id=settings.org_id,
            project_id=settings.project_id,
            retention_days=settings.retention_days,
        )
        self._sequence = 1  # of the next frame
        self._datagrams: list[DatagramReceiver] = []
        self._streams: StreamListener | None = None
        self._unix: tuple[str, int] | None = None  # path and inode of our socket
        self._ops: OpsServer | None = None
        self._ready = False
        self.addresses = Addresses()

    def start(self) -> None:
        """Binds all sockets and starts reading. Raises OSError."""
        udp, tcp, unix, ops = "", "", "", ""
        if self._settings.udp:
            udp = self._listen_datagrams("udp", bind("agent.udp", self._settings.udp, socket.SOCK_DGRAM))
        if self._settings.tcp:
            tcp = self._listen_streams(bind("agent.tcp", self._settings.tcp, socket.SOCK_STREAM))
        if self._settings.unix:
            unix = self._listen_datagrams("unix", bind_unix("agent.unix", self._settings.unix))
            self._unix = (unix, Path(unix).stat().st_ino)
        if self._settings.ops:
            collector = AgentCollector(self._sources)
            self._ops = OpsServer(self._settings.ops, lambda: exposition([collector]), self._unready)
            ops = self._ops.address
        self._forwarder.start()
        self.addresses = Addresses(udp=udp, tcp=tcp, unix=unix, ops=ops)
        self._ready = True
        self._log.info("listening", udp=udp, tcp=tcp, unix=unix, ops=ops, indexer=self._settings.forward.url)

    def _listen_datagrams(self, name: str, sock: socket.socket) -> str:
        wanted = self._settings.receive.buffer_bytes
        given = grow_receive_buffer(sock, wanted)
        if given < wanted:
            self._log.warning(
                "receive_buffer_small", listener=name, wanted=wanted, given=given, fix="net.core.rmem_max"
            )
        else:
            self._log.info("receive_buffer", listener=name, wanted=wanted, given=given)
        at = name_of(sock)
        receiver = self._core.receive([sock], ReceiveOptions(nap_ms=self._settings.receive.nap_ms))
        self._datagrams.append(receiver)
        self._sources.datagrams[name] = receiver
        return at

    def _listen_streams(self, sock: socket.socket) -> str:
        self._streams = self._sources.streams = StreamListener(
            sock,
            self._receive,
            self._settings.lines.max_line_bytes,
            self._settings.receive.max_connections,
            self._log,
        )
        return name_of(sock)

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
            running = [tasks.create_task(self._flush_in_time()), tasks.create_task(self._make_frames())]
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
            if not any(listener.behind for listener in self._datagrams):
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
        for listener in self._datagrams:
            listener.stop()
        if self._streams:
            self._streams.stop()
        self._remove_unix()
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

    def _remove_unix(self) -> None:
        if self._unix is None:
            return
        path, inode = self._unix
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == inode:  # noqa: PTH116 - not if another agent has replaced it
                Path(path).unlink()
