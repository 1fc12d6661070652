"""Clients of a server whose version or profile changes while the process lives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from indexer.clickhouse.client_pool import ClientPool
from indexer.clickhouse.store import Store
from indexer.clickhouse.store_errors import ServerAddress, StoreError


class _Server:
    """A server with a user's profile, and the clients that were opened."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.profile = {"readonly": "2"}
        self.away = False
        self.opened = self.closed = 0
        self.pool = ClientPool(
            [self.open(), self.open()],
            "d",
            ServerAddress("server:8123", "shim"),
            open_another=self.open,
            clock_s=lambda: self.now_s,
        )
        self.store = Store(self.pool, "d", None, embedded=False)

    def open(self) -> Client:
        if self.away:
            raise OperationalError("connection refused")
        self.opened += 1
        settings = {n: SimpleNamespace(name=n, value=v, readonly=0) for n, v in self.profile.items()}
        return cast("Client", SimpleNamespace(database="", server_settings=settings, close=self._close))

    def _close(self) -> None:
        self.closed += 1

    def ask(self, code: int | None = None) -> None:
        """Make a call, which the server refuses with a code. Raises StoreError."""
        with self.pool.lend() as client:
            assert client.database == "d"
            if code is not None:
                raise DatabaseError("refused", code=code)

    def refuse(self, code: int) -> None:
        with pytest.raises(StoreError) as caught:
            self.ask(code)
        assert caught.value.code == code


@pytest.mark.parametrize("code", [115, 164, 452])
def test_a_refused_setting_opens_the_clients_anew(code: int) -> None:
    server = _Server()
    server.refuse(241)
    server.now_s = 60.0
    server.profile["readonly"] = "1"
    assert server.store.takes_settings
    server.refuse(code)
    with server.pool.lend(), server.pool.lend():
        assert not server.store.takes_settings
    assert (server.opened, server.closed) == (4, 2)
    server.refuse(code)  # a moment later: for another cause
    server.ask()
    assert server.opened == 4


def test_a_client_stays_while_the_server_is_away() -> None:
    server = _Server()
    server.now_s = 60.0
    server.refuse(164)
    server.away = True
    with pytest.raises(StoreError):
        server.ask()
    server.away = False
    with server.pool.lend(), server.pool.lend():
        assert server.closed == 2


def test_a_profile_that_changes_answers_is_not_queried() -> None:
    server = _Server()
    server.now_s = 60.0
    server.refuse(164)
    server.profile |= {"readonly": "1", "final": "1"}
    for _ in range(2):
        with pytest.raises(StoreError, match=r"final = 1 \(expected '0'\)"):
            server.ask()
    server.profile["final"] = "0"
    server.ask()
    server.pool.close()
    assert server.opened == server.closed
