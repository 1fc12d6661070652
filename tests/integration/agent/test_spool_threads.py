"""A thread that waits for frames of the spool."""

from __future__ import annotations

import threading

from agent.forward.spool.spool import Spool
from tests.unit.agent.test_spool import parcel


def test_waiting() -> None:
    spool = Spool(100)
    assert spool.wait_empty(0)
    seen: list[bool] = []
    waiting = threading.Thread(target=lambda: seen.append(spool.wait_any()))
    waiting.start()
    spool.put(parcel("a"))
    waiting.join(120)
    assert seen == [True]
    assert not spool.wait_empty(0)
    out = spool.take()
    assert out is not None
    assert not spool.wait_empty(0)  # it is out, and may come back
    spool.done(out)
    assert spool.wait_empty(0)
    waiting = threading.Thread(target=lambda: seen.append(spool.wait_any()))
    waiting.start()
    spool.close()
    waiting.join(120)
    assert seen == [True, False]
