"""Sockets bound early: an address that becomes free is taken; a busy one is named."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.net.sockets import AddressError
from indexer.http.listening_sockets import close, listen, listen_at_once, port_of
from tests.support.ports import free_port


def test_takes_an_address_that_comes_free() -> None:
    async def run() -> None:
        taken = socket.create_server(("127.0.0.1", free_port()))
        text = f"127.0.0.1:{taken.getsockname()[1]}"
        waiting = asyncio.create_task(listen("indexer.listen", text, 10.0))
        with pytest.raises(AddressError, match=rf"^indexer.listen = '{text}': Address already in use$"):
            await listen("indexer.listen", text, 0.0)
        taken.close()
        socks = await waiting
        assert port_of(socks) == int(text.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port_of(socks))):
            pass  # it listens before anybody serves
        close(socks)
        assert not socks

    asyncio.run(run())


def test_without_a_loop_takes_an_address_that_comes_free() -> None:
    taken = socket.create_server(("127.0.0.1", free_port()))
    text = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(AddressError, match=rf"^indexer.listen = '{text}': Address already in use$"):
        listen_at_once("indexer.listen", text, 0.0)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(listen_at_once, "indexer.listen", text, 60.0)
        taken.close()
        socks = waiting.result()
    with socket.create_connection(("127.0.0.1", port_of(socks))):
        pass  # it listens before anybody serves
    close(socks)


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.1:x", "256.0.0.1:0"])
def test_names_a_setting_that_is_no_address(text: str) -> None:
    with pytest.raises(AddressError, match=rf"^shim.listen = '{text}': "):
        asyncio.run(listen("shim.listen", text, 0.0))
    with pytest.raises(AddressError, match=rf"^shim.listen = '{text}': "):
        listen_at_once("shim.listen", text, 0.0)


def test_every_address_of_a_name() -> None:
    async def run() -> None:
        socks = await listen("shim.listen", ":0", 0.0)
        assert {sock.family for sock in socks} <= {socket.AF_INET, socket.AF_INET6}
        close(socks)

    asyncio.run(run())
