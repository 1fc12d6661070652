"""How soon a thread that computes hands the interpreter to one that waits for it."""

from __future__ import annotations

import sys
from typing import Final

#: Python's own default is 5 ms. A request needs the interpreter some ten times, so beside two threads that
#: compute it takes 148 ms instead of 36 (p50, two cores); the threads lose nothing that can be measured.
SWITCH_S: Final = 0.001


def switch_often() -> None:
    """Let the event loop go on soon while other threads of this process compute."""
    sys.setswitchinterval(SWITCH_S)
