"""Decoders of the indexer: frames as it takes them, messages, credentials, headers of pages, its journal, DSNs."""

# ruff: noqa: E501 (lists of short texts, many to a line)

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from multidict import CIMultiDict

from agent.wire import frame as wire
from indexer.access.grants import AccessError, EntryError, Presented, checked, parse_file, presented
from indexer.clickhouse.store import StoreError, embedded_path
from indexer.http.web_pages import WebPageRules, is_json
from indexer.receive.messages import MessagesError
from indexer.receive.messages import parse as parse_messages
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.frame_to_columns import check, count_clamped
from indexer.write.identity import digest, frame_identity
from indexer.write.journal import Journal, JournalError
from tests.fuzz.harness import Decoder
from tests.support.frames import FrameRows, make_frame
from tests.support.frames import unit as unit_of
from tests.support.http_random import bodies

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NOW_S: Final = 1_700_000_000
_TAGS: Final = {"host": "a", "ä": "ö"}
_ROWS: Final = FrameRows(
    counters=[("up", _TAGS, NOW_S, 2.5), ("up", {}, NOW_S - 10, 1.0)],
    gauges=[("temp", _TAGS, NOW_S, (NOW_S * 1000, 1.0, 0.5, 2.0, 3.5, 3.0))],
    distributions=[("took", {}, NOW_S, (0.1, 5.0, -3.0, 0.0))],
    sets=[("users", _TAGS, NOW_S, (1, 2, 2**64 - 1))],
)
_PACK_WORDS: Final = (
    *(b"\x91" * 3_000, b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xc6\x00\x00\x00\x04", b"\xcf" + b"\xff" * 8),
    *(b"\xd3" + b"\x80" + b"\0" * 7, b"\xc4\x00", b"\x90", b"\xa0", b"\xc0", b"\xcb" + b"\x7f\xf0" + b"\0" * 6, b"\x81\xa1a" * 2_000),
)  # fmt: skip
_MESSAGE_WORDS: Final = (
    *(b'"org_id":', b'"value":', b'"type":"d"', b'"tags":{', b'"metric_id":', b"1.7e308", b"[1.7e308,1.7e308]"),
    *(b'"timestamp":-1', b'"retention_days":65535', b"1e-320", b",", b'"\\u0000"', b"18446744073709551616"),
)  # fmt: skip
_TOKENS: Final = (
    b"# tokens\nsecret 1:2 write,query expires=2027-01-31\nsha256:" + b"ab" * 32 + b" *:* admin\n"
    b"basic:grafana:scrypt:" + b"00" * 16 + b":" + b"11" * 32 + b" 1:* query expires=2027-01-31T12:00:00Z\n"
)
_TOKEN_WORDS: Final = (
    *(b"expires=0001-01-01T00:00+14:00", b"expires=9999-12-31T23:59:59-14:00", b"expires=2027-W01", b"*:*", b"4294967296:1"),
    *(b"write,", b"sha256:", b"basic:", b"\xc2\x85", b"\xe2\x80\xa8", b"\x0b", b"expires=20270131T000000+235959"),
)  # fmt: skip


def decoders(folder: Path) -> Iterator[Decoder]:
    """All of them; `folder` is for files."""
    frame = make_frame(_ROWS, sequence=1)
    packed = msgspec.msgpack.encode(frame)
    yield Decoder("frame", _frame, (wire.FrameError,), [wire.encode(frame)])
    yield Decoder("frame_inside", _frame_inside, (wire.FrameError,), [packed], _PACK_WORDS, cost=2)
    together = b"".join(column for _, _, column in _columns(frame))
    yield Decoder("frame_columns", _frame_columns(frame), (wire.FrameError,), [together], cost=4)
    messages = [body for body in bodies(NOW_S) if body[:1] in b"[{"]
    yield Decoder("messages", _messages, (MessagesError,), messages, _MESSAGE_WORDS, cost=2)
    yield Decoder("tokens", _tokens, (EntryError, AccessError), [_TOKENS], _TOKEN_WORDS)
    yield Decoder("authorization", _authorization, (AccessError,), _AUTHORIZATIONS, (b"Basic ", b"Bearer "))
    yield Decoder("pages", _pages, (), _HEADERS, (b"\0http://[::1", b"\0localhost:80", b"://", b"@", b"]"))
    yield Decoder(
        "dsn", _dsn, (StoreError,), _DSNS, (b"://", b"@", b"[", b"]", b":99999", b"?database=", b"%ff")
    )
    yield Decoder("journal", _journal(folder), (JournalError,), _journals(folder), cost=60)


def _frame(body: bytes) -> None:
    """Decode a frame as the indexer does before it asks who writes (indexer/receive/receiver.py)."""
    wire.unpacked_bytes(body)
    frame = wire.decode(body)
    check(frame, latest_s=NOW_S + 300)
    count_clamped(frame)
    unit = AcceptedFrame(frame_identity(frame, 0), body, frame, digest=digest(body))
    assert unit.held_bytes > 0
    assert len(unit.partitions) <= frame.rows


def _frame_inside(data: bytes) -> None:
    _frame(zstd.compress(data))


def _columns(frame: wire.Frame) -> list[tuple[str, str, bytes]]:
    """Every column of a frame: its group, its name, its bytes."""
    groups = ("series", "counters", "gauges", "distributions", "sets")
    return [
        (g, n, getattr(getattr(frame, g), n)) for g in groups for n in getattr(frame, g).__struct_fields__
    ]


def _frame_columns(frame: wire.Frame) -> Callable[[bytes], object]:
    """Take the bytes of all columns together; each keeps its length, so that more than lengths is read."""
    columns = _columns(frame)

    def take(data: bytes) -> None:
        groups: dict[str, dict[str, bytes]] = {}
        at = 0
        for group, name, column in columns:
            groups.setdefault(group, {})[name] = data[at : at + len(column)].ljust(len(column), b"\0")
            at += len(column)
        changed = {
            group: msgspec.structs.replace(getattr(frame, group), **parts) for group, parts in groups.items()
        }
        _frame(wire.encode(msgspec.structs.replace(frame, **changed)))

    return take


def _messages(body: bytes) -> None:
    parsed = parse_messages(
        body,
        key="k",
        created_ms=NOW_S * 1000,
        latest_s=NOW_S + 300,
        max_messages=10_000,
        first_day=int,
    )
    for unit in parsed.units:
        check(unit.frame, latest_s=NOW_S + 300)
        count_clamped(unit.frame)
        assert wire.decode(unit.body).rows == unit.frame.rows
    msgspec.json.encode([rejection.reason for rejection in parsed.rejected])


def _tokens(data: bytes) -> None:
    for entry in parse_file(data.decode(errors="replace")):
        checked(entry.grant, 1.7e9)


_AUTHORIZATIONS: Final = (b"Bearer secret", b"Basic Z3JhZmFuYTpzZWNyZXQ=", b"bearer  x")


def _authorization(data: bytes) -> None:
    """Return a header as aiohttp gives it: bytes that are not UTF-8 are lone surrogates."""
    given: Presented = presented([part.decode(errors="surrogateescape") for part in data.split(b"\0")])
    assert given.token or given.name or given.password or data


_HEADERS: Final = (
    b"localhost:8126\0http://localhost\0same-origin\0application/json",
    b"m.example:80\0https://m.example:80\0cross-site\0text/plain; charset=x",
    b"[::1]:80\0http://[::1]:80\0none\0",
)


def _pages(data: bytes) -> None:
    names = ("Host", "Origin", "Sec-Fetch-Site", "Content-Type")
    headers: CIMultiDict[str] = CIMultiDict()
    for number, value in enumerate(data.split(b"\0")):
        headers.add(names[number % 4], value.decode(errors="surrogateescape"))
    WebPageRules("127.0.0.1", ()).refusal(headers)
    WebPageRules("0.0.0.0", ("m.example",)).refusal(headers)
    is_json(headers)


_DSNS: Final = (
    b"chdb:///./data/chdb?database=x",
    b"http://user:secret@host:8123/db?secure=1",
    b"https://[::1]:8443",
)


def _dsn(data: bytes) -> None:
    embedded_path(data.decode(errors="replace"))


def _open(path: Path) -> Journal:
    return Journal(path, max_identities=10, max_age_ms=1_000, max_aside_bytes=1 << 20)


def _journals(folder: Path) -> list[bytes]:
    path = folder / "whole.sqlite"
    journal = _open(path)
    journal.begin("open", [unit_of(make_frame(_ROWS, sequence=2))], NOW_S * 1000)
    journal.begin("done", [unit_of(make_frame(_ROWS, sequence=3))], NOW_S * 1000)
    journal.finish("done", NOW_S * 1000)
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    return [path.read_bytes()]


def _journal(folder: Path) -> Callable[[bytes], object]:
    path = folder / "fuzzed.sqlite"

    def take(data: bytes) -> None:
        for old in folder.glob("fuzzed.sqlite*"):
            old.unlink()
        path.write_bytes(data)
        journal = _open(path)
        try:
            journal.unfinished()
            journal.counts()
            unit = unit_of(make_frame(_ROWS, sequence=4))
            journal.find(unit.identity)
            journal.begin("new", [unit], NOW_S * 1000)
            journal.finish("new", NOW_S * 1000)
        finally:
            journal.close()

    return take
