"""Another program's values under our names in Redis, and the refusals of a Redis that is not ours alone.

Each kind of FOREIGN makes its fault over a client, which keeps one connection; `heal` takes refusals back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle
from typing import Any, Final

#: Names of Meterhouse: ids of strings and charges of orgs begin with these, leases with the third.
PATTERNS: Final = ("ingest:*", "rates:*", "meterhouse:lease:*")
#: Texts that are no ids: not UTF-8, thousands of digits, other digits, numbers beyond every type.
GARBAGE: Final = (
    *(b"", b"\xff\xfe\x00\x80", b"9" * 5_000, b"-1", b"1e300", "٣".encode(), b"18446744073709551616"),
    *(
        b"0",
        b"0x1f",
        b"1:99999999999999999999999 4294967296:7 :1 1: \xff:\xff",
        b"nan",
        b" 7 ",
        b"*" * 10_000,
    ),
)
_PASSWORD: Final = "another"  # of a server on a socket in a test's folder
_NOBODY: Final = ("127.0.0.1", "1")

#: A client of Redis; its types do not know every command.
Client = Any
Act = Callable[[Client], object]


def our_names(client: Client) -> list[bytes]:
    """Return the names that Meterhouse uses at present."""
    return sorted({name for pattern in PATTERNS for name in client.scan_iter(pattern, 1_000)})


def _each(client: Client, values: Iterable[bytes], ttl_ms: int | None = None) -> None:
    for name, value in zip(our_names(client), cycle(values), strict=False):
        client.set(name, value, px=ttl_ms)


def _replace(client: Client, name: bytes, make: Callable[[Client], object]) -> None:
    """Make a value in the place of another in one step: its owner may write meanwhile."""
    with client.pipeline(transaction=True) as pipe:
        pipe.delete(name)
        make(pipe)
        pipe.execute()


def _of_other_types(client: Client) -> None:
    makers: tuple[Callable[[Client, bytes], Any], ...] = (
        lambda pipe, name: pipe.hset(name, "rows", "x"),
        lambda pipe, name: pipe.rpush(name, "x"),
        lambda pipe, name: pipe.sadd(name, "x"),
        lambda pipe, name: pipe.zadd(name, {b"\xff\x80": 1e300}),
        lambda pipe, name: pipe.xadd(name, {"x": "y"}),
    )
    for name, make in zip(our_names(client), cycle(makers), strict=False):
        _replace(client, name, lambda pipe, make=make, name=name: make(pipe, name))  # type: ignore[misc]


def _ids_of_others(client: Client) -> None:
    """Give each string the id of the next one."""
    names = [name for name in our_names(client) if b":org:str:" in name]
    values = client.mget(names) if names else []
    for name, value in zip(names, values[1:] + values[:1], strict=True):
        if value is not None:
            client.set(name, value)


def _absurd_numbers(client: Client) -> None:
    """Set ids, charges of nearly 2^63, and members that never end."""
    charges = {"rows": str(2**63 - 1), "strings": str(2**62)}
    members = {b"f" * 32: 1e300, b"\xff\xfe": 1e18, b"x": float("inf")}
    for name in our_names(client):
        if name.startswith(b"rates:"):
            _replace(client, name, lambda pipe, name=name: pipe.hset(name, mapping=charges))  # type: ignore[misc]
        elif name.endswith(b":members"):
            _replace(client, name, lambda pipe, name=name: pipe.zadd(name, members))  # type: ignore[misc]
        else:
            client.set(name, str(2**62 + 1))


def _want_password(client: Client) -> None:
    """Refuse all clients but this one, which is let in already; connections of others are closed."""
    client.config_set("requirepass", _PASSWORD)
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


FOREIGN: Final[dict[str, Act]] = {
    "other_types": _of_other_types,
    "garbage": lambda client: _each(client, GARBAGE),
    "absurd_numbers": _absurd_numbers,
    "ids_of_others": _ids_of_others,
    "expiring": lambda client: _each(client, (b"7", b"f" * 32), ttl_ms=300),
    "flushed": lambda client: client.flushall(),
    "read_only": lambda client: client.execute_command("REPLICAOF", *_NOBODY),
    "memory": lambda client: client.config_set("maxmemory", 1),
    "password": _want_password,
}


def heal(client: Client) -> None:
    """Take the refusals back; values stay. `client` is the one that made them, on the same connection."""
    client.config_set("requirepass", "")
    client.execute_command("REPLICAOF", "NO", "ONE")
    client.config_set("maxmemory", 0)
