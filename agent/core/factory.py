"""Chooses the core that runs: the native one where it was built, else the Python one."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from agent.core.interface import Core, KeyMapper
from agent.runtime.logs import Log
from agent.settings import AgentSettings


class CoreError(OSError):
    """The core required by the settings cannot run here; the text is shown to the user."""


def open_core(settings: AgentSettings, mapper: KeyMapper | None, wake: Callable[[], None], log: Log) -> Core:
    """Open the core that `settings.core` names. Raises CoreError if it must be native and was not built.

    `wake` is called, from any thread, after an early flush. Without a `mapper` every head stays unchanged.
    """
    if settings.core != "python":
        try:
            native = importlib.import_module("agent.core._native.core")
        except ImportError as e:
            if settings.core == "native":
                raise CoreError(f"agent.core = 'native': {e}") from None
            log.warning("core", core="python", reason=e)
        else:
            log.info("core", core="native")
            native.settle_allocator()
            core: Core = native.NativeCore(settings, mapper, wake)
            return core
    else:
        log.info("core", core="python")
    from agent.core.python_core import PythonCore  # imported only where needed, to save memory

    return PythonCore(settings, mapper, wake)
