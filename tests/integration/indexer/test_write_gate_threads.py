"""INSERTs and deletions in threads of their own meet at the gate (indexer/write/write_gate.py)."""

from __future__ import annotations

import threading
from collections.abc import Callable

from indexer.write.write_gate import WriteGate


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_a_deletion_waits_for_the_inserts_inside_and_begins_when_they_end() -> None:
    gate, alone = WriteGate(), threading.Event()

    def delete() -> None:
        with gate.alone(1, 120.0):
            alone.set()

    gate.enter([1])
    deleting = in_thread(delete)
    with gate._changed:
        assert gate._changed.wait_for(lambda: gate.closed, 120)
    assert not alone.is_set()
    gate.leave([1])
    assert alone.wait(60), "it was told when the INSERT ended"
    deleting.join(60)


def test_inserts_and_deletions_of_a_closed_org_wait_for_its_deletion() -> None:
    gate, passed = WriteGate(), list[str]()

    def insert() -> None:
        with gate.insert([1, 2]):
            passed.append("insert")

    def delete() -> None:
        with gate.alone(1, 120.0):
            passed.append("delete")

    with gate.alone(1, 0.0):
        threads = [in_thread(insert), in_thread(delete)]
        for thread in threads:
            thread.join(0.05)
        assert passed == []
    for thread in threads:
        thread.join(60)
    assert sorted(passed) == ["delete", "insert"]
