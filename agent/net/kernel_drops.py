"""Warns once when the kernel drops packets because a receive buffer is full, with the setting to change.

Owns the suggested fix. `suggested_fix` is pure; `meterhouse up` shows it in its status line, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.runtime.logs import Log

RMEM_MAX: Final = Path("/proc/sys/net/core/rmem_max")


def suggested_fix(buffer_bytes: int, rmem_max: int) -> str:
    """Return the settings to change where the kernel drops packets.

    `buffer_bytes` is `agent.receive.buffer_bytes`; `rmem_max` is the kernel's limit, 0 if unknown.
    """
    if rmem_max < buffer_bytes:
        return f"sysctl -w net.core.rmem_max={buffer_bytes}"
    return f"agent.receive.buffer_bytes={2 * buffer_bytes} and sysctl -w net.core.rmem_max={2 * buffer_bytes}"


def rmem_max() -> int:
    """Return the largest receive buffer that the kernel grants; 0 if it does not tell."""
    with suppress(OSError, ValueError):
        return int(RMEM_MAX.read_text())
    return 0


class DropWarning:
    """Warns once per listener whose packets the kernel drops."""

    def __init__(self, buffer_bytes: int, log: Log) -> None:
        self._buffer_bytes = buffer_bytes
        self._log = log
        self._warned = set[str]()

    def look(self, drops: Mapping[str, Callable[[], int | None]]) -> None:
        """Read each listener's drop counter, by name."""
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
