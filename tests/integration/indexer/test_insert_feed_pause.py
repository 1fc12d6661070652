"""A pause of inserts, asked from another thread."""

from __future__ import annotations

import threading

from indexer.write.insert_feed import InsertFeed
from tests.unit.indexer.test_insert_feed import Heard, block


def test_a_pause_waits_for_inserts_and_holds_up_new_ones() -> None:
    written, heard = InsertFeed(), Heard()
    written.subscribe(heard)
    rows = block((1, 1, 9, 10))
    with written.announce("counters", rows, first=True), written.paused(0.01) as quiet:
        assert not quiet

    def insert() -> None:
        with written.announce("counters", rows, first=True):
            pass

    thread = threading.Thread(target=insert)
    with written.paused(10) as quiet:
        assert quiet
        thread.start()
        thread.join(0.05)
        assert len(heard.said) == 2
    thread.join(120)
    assert len(heard.said) == 4
