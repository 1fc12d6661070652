"""Addresses as settings write them, and the messages when one is not available."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from agent.net.sockets import (
    AddressError,
    address_error,
    bind,
    bind_unix,
    bind_with_retry,
    bound_address,
    grow_receive_buffer,
    split_host_port,
)

UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8125", ("127.0.0.1", 8125)),
        ("[::1]:0", ("::1", 0)),
        (":8125", ("", 8125)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_split(text: str, address: tuple[str, int]) -> None:
    assert split_host_port("agent.udp", text) == address


@pytest.mark.parametrize(
    "text", ["", "8125", "localhost", "localhost:", "h:65536", "h:-1", "h:x", "h:\u0661"]
)
def test_split_refuses(text: str) -> None:
    with pytest.raises(AddressError, match=r"agent\.udp = .*expected host:port"):
        split_host_port("agent.udp", text)


@pytest.mark.parametrize("kind", [UDP, TCP])
@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_port_0_gives_the_real_one(kind: socket.SocketKind, text: str) -> None:
    with bind("agent.udp", text, kind) as sock:
        host, _, port = bound_address(sock).rpartition(":")
        assert host in ("127.0.0.1", "[::1]")
        assert int(port) > 0
        assert not sock.getblocking()


def test_any_ipv6_takes_ipv4_too() -> None:
    with bind("agent.udp", "[::]:0", UDP) as sock, socket.socket(socket.AF_INET, UDP) as sender:
        sender.sendto(b"x", ("127.0.0.1", sock.getsockname()[1]))
        sock.settimeout(120)
        assert sock.recv(10) == b"x"


@pytest.mark.parametrize("kind", [UDP, TCP])
def test_a_taken_port_is_said_by_name(kind: socket.SocketKind) -> None:
    """UDP too: with SO_REUSEADDR a second agent would take the packets in silence."""
    taken = pytest.raises(AddressError, match=r"agent\.tcp = '127.0.0.1:\d+': Address already in use")
    with bind("agent.udp", "127.0.0.1:0", kind) as sock, taken:
        bind("agent.tcp", bound_address(sock), kind)


def test_a_port_that_comes_free_is_taken() -> None:
    taken = bind("agent.tcp", "127.0.0.1:0", TCP)
    tries = list[int]()

    def again() -> socket.socket:
        tries.append(1)
        if len(tries) == 3:
            taken.close()
        return bind("agent.tcp", text, TCP)

    text = bound_address(taken)
    with pytest.raises(AddressError, match="Address already in use"):
        bind_with_retry(again, 0.0)
    with bind_with_retry(again, 30.0) as sock:
        assert bound_address(sock) == text
    assert len(tries) == 3


@pytest.mark.parametrize("text", ["no-such-host.invalid:1", "192.0.2.1:1"])
def test_an_address_that_is_not_ours(text: str) -> None:
    with pytest.raises(AddressError, match=r"agent\.udp = "):
        bind("agent.udp", text, UDP)


def test_unix_replaces_an_old_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    bind_unix("agent.unix", str(path)).close()
    assert path.is_socket()
    with bind_unix("agent.unix", str(path)) as sock, socket.socket(socket.AF_UNIX, UDP) as sender:
        sender.sendto(b"x", str(path))
        assert sock.recv(10) == b"x"
        assert bound_address(sock) == str(path)
        assert path.stat().st_mode & 0o777 == 0o666


def test_unix_replaces_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(AddressError, match="exists and is not a socket"):
        bind_unix("agent.unix", str(path))
    assert path.read_text() == "data"
    with pytest.raises(AddressError, match=r"agent\.unix = "):
        bind_unix("agent.unix", str(tmp_path / "no" / "dir"))
    with pytest.raises(AddressError, match=r"agent\.unix = "):
        bind_unix("agent.unix", str(tmp_path / ("x" * 200)))


def test_receive_buffer() -> None:
    with bind("agent.udp", "127.0.0.1:0", UDP) as sock:
        assert grow_receive_buffer(sock, 100_000) >= 100_000
        assert grow_receive_buffer(sock, 1 << 30) > 0


def test_what_asyncio_says_of_an_address_is_told_with_its_setting() -> None:
    """Its own text has the address without the setting, or (an unknown name) not even that."""
    taken = OSError(errno.EADDRINUSE, "error while attempting to bind on address ('::1', 1): address ...")
    assert str(address_error("s", "[::1]:1", taken)) == "s = '[::1]:1': Address already in use"
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert str(address_error("s", "nowhere:1", unknown)) == "s = 'nowhere:1': Name or service not known"
