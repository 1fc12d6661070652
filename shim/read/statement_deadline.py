"""Ends the statements of a query at its deadline where the server does not.

A user with readonly = 1 cannot send max_execution_time, but may end statements of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from indexer.clickhouse.store import Store, StoreError
from shim.model.errors import TimedOut

#: Seconds between two tries: a statement may have reached the server only after the first one.
_AGAIN_S: Final = 1.0


@contextmanager
def ended_after(store: Store, tag: str, left_s: float) -> Iterator[None]:
    """End the statements with `tag` after `left_s` seconds, unless the context ends first. Raises TimedOut.

    Do nothing where the store takes settings: max_execution_time does it.
    """
    if store.takes_settings:
        yield
        return
    done, ended = threading.Event(), threading.Event()

    def wait() -> None:
        pause_s = left_s
        while not done.wait(pause_s):
            ended.set()
            pause_s = _AGAIN_S
            with suppress(StoreError):  # it is tried again
                store.kill(tag)

    threading.Thread(target=wait, name="statement-deadline", daemon=True).start()
    try:
        yield
    except StoreError as e:
        if ended.is_set():
            raise TimedOut("query timed out in expression evaluation") from e
        raise
    finally:
        done.set()
