"""A small server that speaks ClickHouse's HTTP interface over chdb, in a process of its own.

So the HTTP side of the store is tested with the real client over a real socket, on the same engine:
one process may hold only one chdb path, and the tests' process holds one already.

It has the limits of a server with default settings: MAX_FIELD_BYTES, MAX_QUERY_BYTES. The user READER may
only read (readonly = 2), PROFILED has a settings profile, STRICT needs grants for tables of `system`; all
others have the rights of CONFIG. With readonly = 1 it takes neither files nor settings, but those with the
value that they have (code 164). An INSERT with async_insert is refused, as older servers do with our views.
Files of a request are its external tables. The data of an INSERT goes to the engine as a file: inline it
would end at the first empty line or semicolon.

It fails as it is told: `FaultRules.set` posts rules to /faults. A statement that has the `match` of a rule in
its text or data is answered with the rule's code (perhaps after rows, or when it is executed), hangs while
the rule lasts, or loses its answer. GET /counts tells how many INSERTs it got, also by user and table.

python -m tests.support.clickhouse_http DIRECTORY [PORT [CONFIG]]    prints the port it listens on

CONFIG is a configuration file of the engine.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from indexer.clickhouse.crash_signals import kept_signals
from tests.support.children import end

with kept_signals():
    import chdb

#: Bytes of one form field or URL parameter at most (`http_max_field_value_size`).
MAX_FIELD_BYTES: Final = 131_072
#: Bytes of a statement at most, without the data of an INSERT (`max_query_size`).
MAX_QUERY_BYTES: Final = 262_144

#: The user whose statements run with readonly = 2, as a profile would have it.
READER: Final = "reader"

#: The user whose settings profile is its password: `limit=1,readonly=2`.
PROFILED: Final = "profiled"

#: The user who may read only those tables of `system` that it has grants for, and a few others: a server's
#: default (select_from_system_db_requires_grant), which the engine in a process does not know.
STRICT: Final = "strict"
_OPEN_TABLES: Final = frozenset({"one", "databases", "tables", "columns", "settings", "functions", "formats"})
_SYSTEM_TABLE: Final = re.compile(r"\bsystem\.(\w+)")

#: Parameters of the protocol, not settings of the engine.
_PROTOCOL = {
    "query", "database", "default_format", "client_protocol_version", "wait_end_of_query", "query_id",
    "session_id", "enable_http_compression", "send_progress_in_http_headers",
    "http_headers_progress_interval_ms", "buffer_size", "compress", "decompress", "user", "password",
    "cancel_http_readonly_queries_on_client_close",
}  # fmt: skip
#: Those of them that a server checks as settings.
_HTTP_SETTINGS = {
    "enable_http_compression", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
    "cancel_http_readonly_queries_on_client_close",
}  # fmt: skip
_CODE = re.compile(r"Code: (\d+)")
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_INTO = re.compile(rb"\s*INSERT\s+INTO\s+(?:TABLE\s+)?`?(?:\w+`?\.`?)?(\w+)", re.IGNORECASE)
_INSERT = re.compile(rb"\s*(INSERT\s+INTO\s[^\n]*?)\s+FORMAT\s+(\w+)[ ]*\n", re.IGNORECASE)
#: The parameters of an external table in a request, after the table's name.
_OF_TABLE = re.compile(r"(\w+)_(structure|format|types)")


class RefusedError(Exception):
    """An input that a server would not take, with the server's words."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """The fate of statements with `match` (hex of bytes; empty: every statement but /ping's).

    `how`: "code" answers `code`; "late" does so after the first rows, of which the status 200 is sent already
    where the request does not wait for the end; "after" does so when the statement is executed; "hang" gives
    no answer while the rule lasts; "lose" executes the statement and closes the connection.
    """

    match: str = ""
    code: int = 0
    name: str = "SOME_ERROR"
    how: str = "code"

    def answer(self, values: Mapping[str, str]) -> web.Response:
        """Return the error that answers a request with these parameters."""
        headers = {"X-ClickHouse-Exception-Code": str(self.code)}
        text = f"Code: {self.code}. DB::Exception: {values.get('query', '')[:100]}. ({self.name})"
        if self.how == "late" and values.get("wait_end_of_query") != "1":
            return web.Response(text=f"ch-1a\t0\n{text}")
        return web.Response(text=text, status=500, headers=headers)


class FaultRules:
    """The faults of a server that listens on `port`, for a test to set."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/faults"

    def set(self, *rules: FaultRule) -> None:
        """Replace all rules."""
        body = json.dumps([asdict(rule) for rule in rules]).encode()
        with urllib.request.urlopen(urllib.request.Request(self._url, body), timeout=120):
            pass


class Server:
    """Every request gets a connection of its own, as a server without sessions would do."""

    def __init__(self, path: Path, config: Path | None = None) -> None:
        self._path = str(path) if config is None else f"{path}?config-file={config}"
        with kept_signals():
            self._anchor = chdb.connect(self._path)
        self._rules: list[FaultRule] = []
        self._inserts: Counter[str] = Counter()  # by user and table
        self._changed = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/ping", self._ping)
        app.router.add_get("/counts", self._counts)
        app.router.add_post("/faults", self._set_rules)
        app.router.add_route("*", "/", self._query)
        return app

    async def _set_rules(self, request: web.Request) -> web.Response:
        self._rules = [FaultRule(**rule) for rule in await request.json()]
        self._changed.set()
        self._changed = asyncio.Event()
        return web.Response()

    def _rule(self, *texts: bytes) -> FaultRule | None:
        return next((r for r in self._rules if any(bytes.fromhex(r.match) in text for text in texts)), None)

    async def _counts(self, _: web.Request) -> web.Response:
        return web.json_response({"inserts": self._inserts.total(), "of": self._inserts})

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _query(self, request: web.Request) -> web.Response:
        values = dict(request.query)
        files: dict[str, bytes] = {}
        body = b""
        if request.content_type.startswith("multipart/"):
            for name, value in (await request.post()).items():
                if isinstance(value, str):
                    values[name] = value
                elif isinstance(value, web.FileField):
                    files[name] = value.file.read()
        else:
            body = await request.read()
        login = _login(request.headers.get("Authorization", ""))
        profile, strict = _profile(*login), login[0] == STRICT
        texts = values.get("query", "").encode(), body, *files.values()
        if (into := _INTO.match(texts[0] or body)) is not None:
            self._inserts[f"{login[0]} {into[1].decode()}"] += 1
        while (rule := self._rule(*texts)) is not None and rule.how == "hang":
            await self._changed.wait()
        if rule is not None and rule.how in ("code", "late"):
            return rule.answer(values)
        answer = await asyncio.to_thread(self._run, values, files, body, profile, strict)
        if rule is not None and rule.how == "after":
            return rule.answer(values)
        if rule is not None and request.transport is not None:  # the answer is lost
            request.transport.close()
        return answer

    def _run(
        self,
        values: Mapping[str, str],
        files: Mapping[str, bytes],
        body: bytes,
        profile: Mapping[str, str],
        strict: bool,
    ) -> web.Response:
        connection = chdb.connect(self._path)
        try:
            _check_fields(values)
            readonly = profile.get("readonly", "0")
            _set(connection, {name: profile[name] for name in profile if name != "readonly"}, {})
            if readonly == "1":
                _check_read_only(connection, values, files)
            _set(connection, values, files)
            for name, data in files.items():
                _create_external(connection, name, values, data)
            if readonly != "0":
                connection.query(f"SET readonly = {readonly}", "TabSeparated")
            sql = values.get("query", "").encode()
            _check_async({**profile, **values}, sql or body)
            statement = sql + b"\n" + body if sql and body else sql or body
            if strict:
                _check_system(connection, statement)
            result = _execute(connection, statement, values)
        except Exception as e:  # whatever the engine says goes to the client, as a server does
            text = str(e)
            code = _CODE.search(text)
            headers = {"X-ClickHouse-Exception-Code": code[1] if code else "1002"}
            return web.Response(text=text, status=500, headers=headers)
        finally:
            connection.close()
        named = _FORMAT.search(sql.decode(errors="replace"))
        headers = {"X-ClickHouse-Format": named[1] if named else "TabSeparated"} if result else {}
        return web.Response(body=result, headers=headers)


def as_profiled(dsn: str, profile: str) -> str:
    """Return the DSN of a user whose settings profile is `profile`: `limit=1,readonly=2`."""
    return dsn.replace("//", f"//{PROFILED}:{quote(profile, safe='')}@")


def _check_fields(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        if len(value.encode()) > MAX_FIELD_BYTES:
            raise RefusedError(f"Code: 1000. DB::Exception: Field value too long: {name}")


def _check_read_only(connection: Any, values: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    """Refuse temporary tables, and settings with another value than they have."""
    if files:
        raise RefusedError("Code: 164. DB::Exception: Cannot execute query in readonly mode. (READONLY)")
    sent = _settings_of(values, files) | {name: values[name] for name in _HTTP_SETTINGS & values.keys()}
    if not sent:
        return
    found = connection.query("SELECT name, value FROM system.settings", "JSONCompactEachRow").bytes()
    known = dict(json.loads(line) for line in found.splitlines())
    for name, value in sent.items():
        if known.get(name) != value:
            text = f"Cannot modify '{name}' setting in readonly mode"
            raise RefusedError(f"Code: 164. DB::Exception: {text}. (READONLY)")


def _check_system(connection: Any, statement: bytes) -> None:
    """Refuse to read a table of `system` without a grant of its own."""
    text = b"" if _INSERT.match(statement) else statement
    named = {name.decode() for name in re.findall(_SYSTEM_TABLE.pattern.encode(), text)}
    if text.startswith(b"KILL QUERY"):
        named.add("processes")
    granted = set(_SYSTEM_TABLE.findall(connection.query("SHOW GRANTS", "TabSeparated").bytes().decode()))
    if missing := sorted(named - _OPEN_TABLES - granted):
        text_of = f"To execute this query, it's necessary to have the grant SELECT ON system.{missing[0]}"
        raise RefusedError(f"Code: 497. DB::Exception: Not enough privileges. {text_of}. (ACCESS_DENIED)")


def _check_async(settings: Mapping[str, str], statement: bytes) -> None:
    """Refuse async inserts, as servers before 26.1 do where deduplication and views meet."""
    if settings.get("async_insert", "0") != "0" and statement.lstrip()[:6].upper() == b"INSERT":
        raise RefusedError("Code: 344. DB::Exception: async_insert with views. (SUPPORT_IS_DISABLED)")


def _set(connection: Any, values: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    """Return the request's database and settings."""
    if values.get("database"):
        connection.query("USE `{}`".format(values["database"].replace("`", "\\`")), "TabSeparated")
    assigned = []
    for name, value in _settings_of(values, files).items():
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        assigned.append(f"{name} = '{quoted}'")
    if assigned:
        connection.query(f"SET {', '.join(assigned)}", "TabSeparated")


def _settings_of(values: Mapping[str, str], files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the settings among a request's parameters."""
    found = {}
    for name, value in values.items():
        of_table = _OF_TABLE.fullmatch(name)
        if of_table is not None and of_table[1] in files:
            continue
        if name not in _PROTOCOL and not name.startswith("param_"):
            found[name] = value
    return found


def _profile(login: str, password: str) -> dict[str, str]:
    """Return the settings profile of a user."""
    if login == READER:
        return {"readonly": "2"}
    pairs = password.split(",") if login == PROFILED else ()
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _login(authorization: str) -> tuple[str, str]:
    """Return a request's user and password."""
    login, _, password = base64.b64decode(authorization.partition(" ")[2]).decode().partition(":")
    return login, password


def _create_external(connection: Any, name: str, values: Mapping[str, str], data: bytes) -> None:
    """Create a table that this request alone sees: the connection ends with it."""
    connection.query(f"CREATE TEMPORARY TABLE {name} ({values[f'{name}_structure']})", "TabSeparated")
    _insert(connection, f"INSERT INTO {name}", values.get(f"{name}_format", "TabSeparated"), data)


def _execute(connection: Any, statement: bytes, values: Mapping[str, str]) -> bytes:
    insert = _INSERT.match(statement[: MAX_QUERY_BYTES + 1])
    if insert is not None:
        _insert(connection, insert[1].decode(), insert[2].decode(), statement[insert.end() :])
        return b""
    if len(statement) > MAX_QUERY_BYTES:
        raise RefusedError("Code: 62. DB::Exception: Max query size exceeded. (SYNTAX_ERROR)")
    params = {k[6:]: v for k, v in values.items() if k.startswith("param_")}
    # bytes are taken too, which its signature does not say
    result: bytes = connection.query(statement, "TabSeparated", params=params).bytes()
    return result


def _insert(connection: Any, into: str, fmt: str, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".data") as file:
        file.write(data)
        file.flush()
        connection.query(f"{into} FROM INFILE '{file.name}' FORMAT {fmt}", "TabSeparated")


async def serve(path: Path, port: int = 0, config: Path | None = None) -> None:
    runner = web.AppRunner(Server(path, config).app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


@contextmanager
def running(path: Path, port: int = 0, config: Path | None = None) -> Iterator[int]:
    """Yield the server as a child process; return its port (0: a free one).

    `config`: a configuration file of the engine.
    """
    root = Path(__file__).parents[2]
    arguments = [str(path), str(port), *([str(config)] if config else [])]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.clickhouse_http", *arguments],
        stdout=subprocess.PIPE,
        cwd=root,
        text=True,
    ) as child:
        assert child.stdout is not None
        try:
            line = child.stdout.readline()  # it comes when it listens; an early death gives an empty line
            assert line.strip().isdigit(), f"the server did not start: {child.poll()}"
            yield int(line)
        finally:
            end(child)


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    asyncio.run(serve(Path(sys.argv[1]), int(given.get(2, 0)), Path(given[3]) if 3 in given else None))
