"""The signals of a crash, whose handlers stay the process's own.

chdb sets handlers when it is imported and whenever an engine starts. After a crash in any thread, they keep
the process alive for minutes, and the engine refuses every statement with code 236. They also keep Ctrl-Z
from stopping the process, whose children it does stop. So the earlier handlers are put back: those of
Python's faulthandler, or the system's.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Final

_NUMBERS: Final = (
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTSTP,
)
#: Larger than libc's `struct sigaction`, of which nothing is read here.
_STRUCT_BYTES: Final = 1024


@contextmanager
def kept_signals() -> Iterator[None]:
    """Put back the handlers that the process had before it first came here.

    Works in any thread, unlike `signal.signal`.
    """
    before = _handlers()
    try:
        yield
    finally:
        for number, handler in before.items():
            _libc().sigaction(number, handler, None)


@cache
def _handlers() -> Mapping[int, bytes]:
    """Return the handlers at the first call, as libc has them."""
    buffer = ctypes.create_string_buffer(_STRUCT_BYTES)
    found = dict[int, bytes]()
    for number in _NUMBERS:
        _libc().sigaction(number, None, buffer)
        found[number] = buffer.raw
    return found


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
