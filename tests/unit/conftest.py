"""Values only: tests that need sockets, threads, processes, ClickHouse or time are in tests/integration.

All of tests/unit runs within 10 s of one CPU, so that it can run at each change. Long properties are in
tests/property.
"""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import chdb
import pytest
from hypothesis import settings

#: Functions that a unit test may not call.
REFUSED: tuple[tuple[Any, str], ...] = (
    (socket.socket, "bind"),
    (socket.socket, "connect"),
    (subprocess.Popen, "__init__"),
    (threading.Thread, "start"),
    (time, "sleep"),
    (chdb, "connect"),
)
#: Examples of a property at most: Hypothesis' default.
MAX_EXAMPLES: Final = 100


@pytest.fixture(autouse=True)
def _few_examples(request: pytest.FixtureRequest) -> None:
    """Refuse properties with more examples than the default."""
    of_test = getattr(request.function, "_hypothesis_internal_use_settings", None)
    if isinstance(of_test, settings) and of_test.max_examples > MAX_EXAMPLES:
        pytest.fail(f"{of_test.max_examples} examples in tests/unit: move this test to tests/property")


@pytest.fixture(scope="package", autouse=True)
def _values_only() -> Iterator[None]:
    """Refuse sockets, threads, processes, ClickHouse and waiting in the thread that runs the tests."""
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
