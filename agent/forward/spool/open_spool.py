"""Opens the spool that the settings describe: in memory, and on disk where `agent.spool.path` is set.

Owns the clock by which frames age: the wall clock at the start, then a clock that never steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from agent.forward.spool.backlog import Backlog
from agent.forward.spool.bindings import Bindings
from agent.forward.spool.spool import Spool
from agent.runtime.logs import Log
from agent.settings import AgentSettings


class SpoolError(OSError):
    """The spool's directory cannot be used; the text is shown to the user."""


def steady_clock() -> Callable[[], int]:
    """Return a clock in Unix milliseconds that runs evenly from now, unaffected by clock changes."""
    ahead_ns = time.time_ns() - time.monotonic_ns()
    return lambda: (time.monotonic_ns() + ahead_ns) // 1_000_000


def open_bindings(settings: AgentSettings) -> Bindings | None:
    """Read the bindings of an earlier run; None with one indexer, and none before. Raises SpoolError."""
    path = settings.spool.path
    try:
        found = Bindings(Path(path) if path else None, sync=settings.spool.fsync)
        # Frames that another indexer may have wait for it, also when `urls` is empty again.
        if settings.forward.urls or found.urls():
            return found
        found.uncover()
    except OSError as e:
        raise SpoolError(f"agent.spool.path = {path!r}: {e.strerror or e}") from None
    return None


def open_spool(settings: AgentSettings, now_ms: Callable[[], int], log: Log, wait_s: float = 0.0) -> Spool:
    """Open the spool with the frames of an earlier run; waits up to `wait_s` for another agent.

    Raises SpoolError.
    """
    path = settings.spool.path
    if settings.spool.checkpoint_ms and not path:
        raise SpoolError(
            f"agent.spool.checkpoint_ms = {settings.spool.checkpoint_ms}: expected agent.spool.path to be set"
        )
    if not path:
        log.info("spool_off", effect="unsent frames are lost when the agent ends", fix="agent.spool.path")
        return Spool(settings.forward.max_unsent_bytes, bindings=open_bindings(settings))
    try:
        backlog = Backlog(
            Path(path),
            settings.spool.max_bytes,
            settings.spool.max_age_s,
            now_ms,
            sync=settings.spool.fsync,
            wait_s=wait_s,
        )
    except OSError as e:
        raise SpoolError(f"agent.spool.path = {path!r}: {e.strerror or e}") from None
    log.info("spool", dir=path, frames=backlog.frames, bytes=backlog.bytes)
    if backlog.later_files:
        log.warning(
            "spool_of_later_version", dir=path, files=len(backlog.later_files), effect="not sent, kept"
        )
    if backlog.damaged.frames:
        log.warning("spool_damaged", dir=path, frames=backlog.damaged.frames, set_aside=f"{path}/damaged")
    try:
        bindings = open_bindings(settings)  # not earlier: another agent may have written them until now
    except SpoolError:
        backlog.close()
        raise
    if bindings is not None:
        bindings.cover(backlog.next_file)
        if backlog.is_empty:
            bindings.forget_recovered()
    return Spool(settings.forward.max_unsent_bytes, backlog, bindings=bindings)
