"""The store: ClickHouse, embedded (chdb) or a server, as one small interface.

Owns the calls and their settings; indexer/clickhouse/client_pool.py has the clients and translates errors
(indexer/clickhouse/connect_client.py opens them). Both backends run through clickhouse-connect. Results come
back as NumPy records (`fetch`), many rows as columns (`columns`), few as tuples (`rows`). Inserts and columns
are Native blocks (indexer/clickhouse/native_format.py).

Sync and thread-safe: callers in asyncio use a thread pool. Must not know the meaning of the tables.

Two facts of the chdb backend shape this module (clickhouse-connect 1.12). Per-call `settings=` of a query
cost several statements, so settings are set at opening or in the SQL text. One process can hold one path
only, with any number of clients.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error
from clickhouse_connect.driver.external import ExternalData
from clickhouse_connect.driver.summary import QuerySummary
from urllib3.exceptions import HTTPError

from indexer.clickhouse.client_pool import ClientPool
from indexer.clickhouse.connect_client import connect_client
from indexer.clickhouse.data_lock import DataInUseError, DataLock, shown
from indexer.clickhouse.dsn import Dsn, DsnError, parse_dsn
from indexer.clickhouse.expected_settings import NO_SETTINGS, refusal
from indexer.clickhouse.kill_query import KillQuery
from indexer.clickhouse.native_format import ColumnData, Ragged, decode_blocks, encode_block
from indexer.clickhouse.sent_tables import SentTable, as_files, as_text, external_data
from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store_errors import (
    EMBEDDED,
    ServerAddress,
    StoreError,
    TooLongError,
    server_address,
    store_error,
)

__all__ = ["ColumnData", "Ragged", "SentTable", "Store", "StoreError", "TooLongError", "open_store"]

#: How long a server may be silent during a call by default.
READ_TIMEOUT_S: Final = 300
#: The value of `insert_quorum` with which an INSERT is done when one replica has it.
ONE_REPLICA: Final = "0"

#: Bytes of a statement at most where the server has no limit of its own.
_UNBOUNDED: Final = 1 << 24
#: Bytes that a client may write after a statement: the name of a format.
_AFTER_TEXT: Final = 64

#: ClickHouse's text for data whose own lock another process has.
_CANNOT_OPEN_FILE: Final = 76


class Store:
    """One database, through a pool of clients."""

    def __init__(
        self,
        pool: ClientPool,
        database: str,
        cluster: str | None,
        *,
        embedded: bool,
        lock: DataLock | None = None,
    ) -> None:
        self.pool = pool
        self._lock = lock
        self.database = database
        self.cluster = cluster
        self.embedded = embedded
        self.insert_quorum = ONE_REPLICA
        self.kills = KillQuery(cluster)
        #: Called with table and columns after each INSERT of a block, by the thread that made it.
        self.on_insert: Callable[[str, Mapping[str, ColumnData]], None] | None = None
        self._max_text = int(self._value("max_query_size") or 0) or _UNBOUNDED

    @property
    def takes_settings(self) -> bool:
        """Whether the user may send settings and tables with a statement."""
        return self._value("readonly") != NO_SETTINGS

    def _value(self, setting: str) -> str:
        """Return a setting's value at the opening; empty if it is not known."""
        found = self.pool.server_settings.get(setting)
        return "" if found is None else str(found.value)

    def knows(self, setting: str) -> bool:
        """Return whether the engine has this setting (and so, mostly, its feature)."""
        return setting in self.pool.server_settings

    def refused_settings(self) -> str:
        """Return which settings the user needs and may not send, in words; empty: none.

        A profile that changed since the opening is read once a statement is refused for it.
        """
        known = self.pool.server_settings
        return refusal({name: (one.value, bool(one.readonly)) for name, one in known.items()})

    def profile(self) -> list[tuple[str, str, bool]]:
        """Return each setting as the user's profile had it at the opening, and whether it is fixed."""
        known = self.pool.server_settings
        return [(name, str(one.value), bool(one.readonly)) for name, one in known.items()]

    def fetch(
        self,
        sql: str,
        dtype: npt.DTypeLike,
        parameters: Mapping[str, Any] | None = None,
        sent: Sequence[SentTable] = (),
    ) -> npt.NDArray[Any]:
        """Return the rows of a SELECT as records of `dtype`.

        `dtype` is packed and little-endian and matches the SELECT list exactly (cast in SQL). The array is
        read-only. The server binds `parameters`: `{name:Type}` in the text; together they stay small (a form
        field over HTTP holds 131,072 bytes). Lists go into `sent`, tables that the text names
        (indexer/clickhouse/sent_tables.py). Raises StoreError.
        """
        with self.pool.lend() as client, self._beside(sql, sent) as (text, external):
            data = client.raw_query(
                text, parameters=_dict(parameters), fmt="RowBinary", external_data=external
            )
        return np.frombuffer(data, dtype=dtype)

    def columns(
        self,
        sql: str,
        dtype: npt.DTypeLike,
        parameters: Mapping[str, Any] | None = None,
        sent: Sequence[SentTable] = (),
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of a SELECT of numbers, by the names of `dtype`'s fields: those of the SELECT.

        For many rows: ClickHouse has them in columns, and half the cost of a `fetch` is to turn them into
        rows. `parameters` and `sent` as for `fetch`. Raises StoreError.
        """
        with self.pool.lend() as client, self._beside(sql, sent) as (text, external):
            data = client.raw_query(text, parameters=_dict(parameters), fmt="Native", external_data=external)
        return decode_blocks(data, dtype)

    def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, sent: Sequence[SentTable] = ()
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a small SELECT as Python values.

        `parameters` and `sent` as for `fetch`. Raises StoreError.
        """
        with self.pool.lend() as client, self._beside(sql, sent) as (text, external):
            found = client.query(text, parameters=_dict(parameters), external_data=external)
            return [tuple(r) for r in found.result_rows]

    @contextmanager
    def _beside(self, sql: str, sent: Sequence[SentTable]) -> Iterator[tuple[str, ExternalData | None]]:
        """Yield the text to run while the engine knows the sent tables, and the request's attachments."""
        if not sent:
            yield sql, None
        elif self.embedded:
            with as_files(sent) as clause:
                yield f"{clause} {sql}", None
        elif self.takes_settings:
            yield sql, external_data(sent)
        else:
            yield self._with_rows(sql, sent), None

    def _with_rows(self, sql: str, sent: Sequence[SentTable]) -> str:
        """Return the text with the rows of the tables. Raises TooLongError."""
        left = self._max_text - _AFTER_TEXT - len(sql.encode())
        clause = as_text(sent, left)
        if not clause:
            raise TooLongError(self._max_text)
        return f"{clause} {sql}"

    def insert(
        self,
        table: str,
        columns: Mapping[str, ColumnData],
        *,
        token: str | None = None,
        fold: bool = True,
    ) -> None:
        """Insert one block; it is stored when this returns. Raises StoreError.

        `token`: the block's name for deduplication, also over the materialized views; the same token must
        always come with the same rows. `fold`: merge rows of the same key before they are written;
        otherwise they merge with their parts. The server must not queue the block (async_insert): its queue
        knows tokens only in some versions.
        """
        block = encode_block(columns)
        settings: dict[str, Any] = {
            "async_insert": 0,
            "max_partitions_per_insert_block": 0,  # late data may touch many days; retention bounds them
            "optimize_on_insert": int(fold),
        }
        if token is not None:
            settings |= {
                "insert_deduplication_token": token,
                "deduplicate_blocks_in_dependent_materialized_views": 1,
            }
        if self.insert_quorum != ONE_REPLICA:
            settings["insert_quorum"] = self.insert_quorum
        with self.pool.lend() as client:
            client.raw_insert(table, list(columns), block, settings=settings, fmt="Native")
        if self.on_insert is not None:
            self.on_insert(table, columns)

    def command(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a statement without a result. Raises StoreError."""
        with self.pool.lend() as client:
            client.command(sql, parameters=_dict(parameters), settings=self._whole(settings))

    def system_rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return rows of system tables; the database need not exist. Raises StoreError."""
        with self.pool.lend() as client:
            data = client.raw_query(
                sql, parameters=_dict(parameters), fmt="JSONCompactEachRow", use_database=False
            )
        return [tuple(json.loads(line)) for line in data.splitlines()]

    def kill(self, tag: str) -> None:
        """End the statements that have `tag` in their text, in a comment for example, without waiting.

        On a cluster, those of all nodes where this one has none: a load balancer may have sent them
        elsewhere (indexer/clickhouse/kill_query.py). `tag` is letters and digits. Raises StoreError.
        """
        self.kills.end(tag, self._finds, partial(self.command, settings={"distributed_ddl_task_timeout": 0}))

    def _finds(self, sql: str) -> bool:
        """Run a statement; return whether its answer has rows. Raises StoreError."""
        with self.pool.lend() as client:
            return not isinstance(client.command(sql, settings=self._whole(None)), QuerySummary)

    def create_database(self, *, on_cluster: bool = True, settings: Mapping[str, Any] | None = None) -> None:
        """Create the database if it is not there. Most other calls need it. Raises StoreError."""
        where = f" ON CLUSTER {quote_name(self.cluster)}" if self.cluster and on_cluster else ""
        with self.pool.lend() as client:
            client.command(
                f"CREATE DATABASE IF NOT EXISTS {quote_name(self.database)}{where}",
                settings=self._whole(settings),
                use_database=False,
            )

    def _whole(self, settings: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return settings of a command: the answer waits for its end, as ON CLUSTER may fail after rows."""
        return _dict(settings) if self.embedded else {"wait_end_of_query": "1", **(settings or {})}

    def close(self) -> None:
        """Close every client, after the running calls. Closing twice does nothing."""
        self.pool.close()
        if self._lock is not None:
            self._lock.close()


def open_store(
    dsn: str,
    *,
    pool: int = 4,
    cluster: str | None = None,
    timeout_s: int = READ_TIMEOUT_S,
    database: str | None = None,
    insert_quorum: str = ONE_REPLICA,
) -> Store:
    """Open a store of a DSN.

    `chdb:///absolute/path`, `chdb:///./relative/path` or `http(s)://user:password@host:port/db`. The path of
    an embedded store is created. The database is `meterhouse` unless the DSN names one (the path of an HTTP
    DSN, `?database=` with chdb); it need not exist yet. `timeout_s`: how long a server may be silent during a
    call. `database`: another one than the DSN's. Of `pool` clients of a server one is opened, the others when
    they are needed: a start is short. `insert_quorum`: replicas that must have the rows of an INSERT, or
    "auto" for the majority. Raises StoreError.
    """
    address, named, embedded = _parse(dsn)
    database = database or named
    lock = _lock(Path(address)) if embedded else None
    place = EMBEDDED if embedded else server_address(address)
    connect = partial(connect_client, address, timeout_s, embedded=embedded)
    clients: list[Client] = []
    opened = pool if embedded else 1
    try:
        clients.extend(connect() for _ in range(opened))
    except (ClickHouseError, HTTPError, OSError) as e:
        for client in clients:
            client.close()
        if lock is not None:
            lock.close()
        raise _open_error(e, Path(address) if embedded else None, place) from e
    lent = ClientPool(clients, database, place, open_another=connect, unopened=pool - opened)
    store = Store(lent, database, cluster, embedded=embedded, lock=lock)
    store.insert_quorum = insert_quorum
    return store


def _lock(path: Path) -> DataLock:
    """Return the held lock of embedded data. Raises StoreError."""
    try:
        return DataLock(path)
    except OSError as e:
        hint = ": the embedded store allows one process: use `meterhouse up`"
        more = hint if isinstance(e, DataInUseError) else ""
        raise StoreError(f"{e.strerror or e}{more}", retryable=False) from e


def _open_error(e: Exception, data: Path | None, place: ServerAddress) -> StoreError:
    """Return the error of opening; a foreign program may hold embedded `data`."""
    if data is not None and isinstance(e, Error) and e.code == _CANNOT_OPEN_FILE:
        return StoreError(f"another process uses {shown(data)}", retryable=False, code=e.code, name=e.name)
    return store_error(e, place)


def embedded_path(dsn: str) -> Path | None:
    """Return the path of an embedded store; None for a server. Raises StoreError."""
    parts = _parse(dsn)
    return Path(parts.address) if parts.embedded else None


def _parse(dsn: str) -> Dsn:
    try:
        return parse_dsn(dsn)
    except DsnError as e:
        raise StoreError(str(e), retryable=False) from None


def _dict(parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return None if there is nothing to bind: clickhouse-connect then leaves `%` in the text alone."""
    return dict(parameters) if parameters else None
