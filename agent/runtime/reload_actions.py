"""The actions of SIGHUP and `POST /-/reload`: a list by name, run in order, each told of in the log.

One list for each process; agent, indexer and shim add the actions of their parts. Knows no event loop: the
agent has none, so its actions never wait.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from agent.runtime.logs import Log

#: Reads something again, and returns the problems; a thing with one stays as it was.
ReloadAction = Callable[[], Coroutine[Any, Any, Sequence[str]]]
#: Files that are read whenever they change, and the rest, which a reload leaves alone.
_BY_THEMSELVES: Final = "certificates and tokens of files"
_NEEDS_RESTART: Final = "settings of the file, the environment and the command line"


class ReloadActions:
    """The actions of one process."""

    def __init__(self, log: Log, needs_restart: str = _NEEDS_RESTART) -> None:
        self._log = log
        self._needs_restart = needs_restart
        self._actions: dict[str, ReloadAction] = {}

    def add(self, name: str, action: ReloadAction) -> None:
        """Add an action, or replace the one of that name."""
        self._actions[name] = action

    async def run(self) -> Sequence[str]:
        """Run all actions; return their problems. One that fails keeps no other from running."""
        problems: list[str] = []
        failed: list[str] = []
        for name, action in self._actions.items():
            try:
                found = await action()
            except Exception as e:  # a reload ends no server
                found = [f"{type(e).__name__}: {e}"]
            if found:
                self._log.warning("reload_failed", what=name, problems=len(found), error=found[0])
                failed.append(name)
            problems += found
        self._log.warning(  # an operator waits for this line, and `up` shows no others
            "reload_ended",
            reloaded=",".join(name for name in self._actions if name not in failed) or "nothing",
            failed=",".join(failed) or "nothing",
            by_themselves=_BY_THEMSELVES,
            needs_restart=self._needs_restart,
        )
        return problems

    def run_at_once(self) -> Sequence[str]:
        """Run actions that never wait, without an event loop."""
        running = self.run()
        try:
            running.send(None)
        except StopIteration as e:
            found: Sequence[str] = e.value
            return found
        running.close()
        raise RuntimeError("an action of a reload waits: expected one that does not")


class Hangup:
    """The two meanings of SIGHUP: an operator asks for a reload, or the terminal was closed.

    Made before the process has a handler: where SIGHUP is ignored (nohup), a closed terminal means nothing.
    """

    def __init__(self) -> None:
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._had_terminal = not ignored and _has_terminal()

    def is_of_terminal(self) -> bool:
        """Return whether the terminal of this process is gone: then it has to stop."""
        return self._had_terminal and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
