"""Packets that the kernel dropped because a receive buffer was full: one warning, with the setting to change.

Owns the words. `fix` is pure; `meterhouse up` shows them in its line of status, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.runtime.logs import Log

RMEM_MAX: Final = Path("/proc/sys/net/core/rmem_max")


def suggested_fix(buffer_bytes: int, rmem_max: int) -> str:
    """Return what to set where the kernel drops packets.

    `buffer_bytes` is `agent.receive.buffer_bytes`; `rmem_max` is what the kernel allows, 0 if it is unknown.
    """
    if rmem_max < buffer_bytes:
        return f"sysctl -w net.core.rmem_max={buffer_bytes}"
    return f"agent.receive.buffer_bytes={2 * buffer_bytes} and sysctl -w net.core.rmem_max={2 * buffer_bytes}"


def rmem_max() -> int:
    """Return the largest receive buffer that the kernel gives; 0 where it does not say."""
    with suppress(OSError, ValueError):
        return int(RMEM_MAX.read_text())
    return 0


class DropWarning:
    """Warns once for each listener whose packets the kernel drops."""

    def __init__(self, buffer_bytes: int, log: Log) -> None:
        self._buffer_bytes = buffer_bytes
        self._log = log
        self._warned = set[str]()

    def look(self, drops: Mapping[str, Callable[[], int | None]]) -> None:
        """Ask each listener, by name, for what was dropped so far."""
        for name, dropped in drops.items():
            packets = 0 if name in self._warned else dropped()
            if packets:
                self._warned.add(name)
                self._log.warning(
                    "kernel_drops",
                    listener=name,
                    packets=packets,
                    fix=suggested_fix(self._buffer_bytes, rmem_max()),
                )
