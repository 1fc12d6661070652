"""A small server that speaks ClickHouse's HTTP interface over chdb, in a process of its own.

So the HTTP side of the store is tested with the real client over a real socket, on the same engine:
one process may hold only one chdb path, and the tests' process holds one already.

python -m tests.support.clickhouse_http DIRECTORY    prints the port it listens on
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import chdb
from aiohttp import web

#: Parameters of the protocol, not settings of the engine.
_PROTOCOL = {
    "query", "database", "default_format", "client_protocol_version", "wait_end_of_query", "query_id",
    "session_id", "enable_http_compression", "send_progress_in_http_headers",
    "http_headers_progress_interval_ms", "buffer_size", "compress", "decompress", "user", "password",
    "cancel_http_readonly_queries_on_client_close",
}  # fmt: skip
_CODE = re.compile(r"Code: (\d+)")
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)


class Server:
    """Every request gets a connection of its own, as a server without sessions would do."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._anchor = chdb.connect(self._path)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/ping", self._ping)
        app.router.add_route("*", "/", self._query)
        return app

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _query(self, request: web.Request) -> web.Response:
        values = dict(request.query)
        body = b""
        if request.content_type.startswith("multipart/"):
            values.update({k: v for k, v in (await request.post()).items() if isinstance(v, str)})
        else:
            body = await request.read()
        return await asyncio.to_thread(self._run, values, body)

    def _run(self, values: Mapping[str, str], body: bytes) -> web.Response:
        sql = values.get("query", "").encode()
        insert = b"\n" if sql else b""
        statement = sql + insert + body if sql and body else sql or body
        params = {k[6:]: v for k, v in values.items() if k.startswith("param_")}
        connection = chdb.connect(self._path)
        try:
            if values.get("database"):
                connection.query("USE `{}`".format(values["database"].replace("`", "\\`")), "TabSeparated")
            for name, value in values.items():
                if name not in _PROTOCOL and not name.startswith("param_"):
                    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
                    connection.query(f"SET {name} = '{quoted}'", "TabSeparated")
            # bytes are taken too, which its signature does not say
            result = connection.query(statement, "TabSeparated", params=params).bytes()  # type: ignore[arg-type]
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


async def serve(path: Path) -> None:
    runner = web.AppRunner(Server(path).app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


@contextmanager
def running(path: Path) -> Iterator[int]:
    """The server as a child process; gives its port."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.clickhouse_http", str(path)],
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
            child.terminate()
            child.wait(10)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
