"""INSERTs whose sender is killed before it has the answer: a process of its own sends them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing.connection import Connection
from typing import Final

from indexer.clickhouse.native_format import Block
from indexer.clickhouse.store import StoreError, open_store

#: A table, its block, and the token.
SentBlock = tuple[str, Block, str]
#: Seconds until the sender has to be ready, and from then until it is killed.
_READY_S: Final = 60.0
_LIVES_S: Final = 0.01


def insert_and_die(dsn: str, cluster: str | None, blocks: Sequence[SentBlock]) -> None:
    """Send all blocks from another process, and kill it at once. Raises StoreError if it cannot start."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    sender = context.Process(target=_send, args=(dsn, cluster, blocks, theirs), daemon=True)
    sender.start()
    theirs.close()
    try:
        with closing(ours):
            if not ours.poll(_READY_S) or not ours.recv():
                raise StoreError("the process that is to be killed did not start", retryable=True)
        time.sleep(_LIVES_S)
    except EOFError:
        raise StoreError("the process that is to be killed could not connect", retryable=True) from None
    finally:
        sender.kill()
        sender.join()
        sender.close()


def _send(dsn: str, cluster: str | None, blocks: Sequence[SentBlock], ready: Connection) -> None:
    store = open_store(dsn, pool=len(blocks), cluster=cluster)
    with ThreadPoolExecutor(len(blocks)) as threads:
        ready.send(True)
        for table, block, token in blocks:
            threads.submit(store.insert, table, block, token=token)
