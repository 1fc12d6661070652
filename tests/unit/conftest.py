"""Values only: tests that need sockets, threads, processes or time are in tests/integration."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

#: Functions that a unit test may not call.
REFUSED: tuple[tuple[Any, str], ...] = (
    (socket.socket, "bind"),
    (socket.socket, "connect"),
    (subprocess.Popen, "__init__"),
    (threading.Thread, "start"),
    (time, "sleep"),
)


@pytest.fixture(scope="package", autouse=True)
def _values_only() -> Iterator[None]:
    """Refuse sockets, threads, processes and waiting in the thread that runs the tests."""
    mine = threading.get_ident()

    def refusing(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == mine:
                pytest.fail(f"{name}() in tests/unit: move this test to tests/integration", pytrace=True)
            return original(*args, **kwargs)

        return refuse

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in REFUSED:
            patch.setattr(owner, name, refusing(name, getattr(owner, name)))
        yield
