"""The statements with which a release's shim reads: recorded on its own tables, run again on later ones.

They hold while older shims run beside newer indexers. A statement is kept as the HTTP request that it was.
"""

from __future__ import annotations

import http.client
import http.server
import lzma
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from tests.e2e.product import Api, Starter, get, wait_for
from tests.support.clickhouse_http import running
from tests.support.ports import free_port
from tests.support.releases import END_S, SentByAgent, SentRequest, SentValue, folder_of

FILE: Final = "statements.xz"
#: The retentions of indexers: the rows of a fixture never expire.
KEPT: Final = {f"METERHOUSE_INDEXER__RETENTION__DAYS_{name}": "20000" for name in ("10S", "60S", "1H", "1D")}
NO_UP: Final = {"METERHOUSE_INDEXER__UP": "false"}
_RANGE: Final = {"start": END_S - 1_800, "end": END_S, "step": 60}


class RecordedStatement(msgspec.Struct, frozen=True):
    """A request of a shim to ClickHouse, and the answer."""

    target: str
    content_type: str
    body: bytes
    answer: bytes


def read_statements(folder: Path) -> list[RecordedStatement]:
    """Return the statements of a fixture."""
    data = lzma.decompress((folder / FILE).read_bytes())
    return msgspec.msgpack.decode(data, type=list[RecordedStatement])


def execute(port: int, statement: RecordedStatement) -> bytes:
    """Return the answer of the server to a recorded statement."""
    status, answer = _forward(port, statement.target, statement.content_type, statement.body)
    assert status == 200, (status, answer[:500], statement.target[:500], statement.body[:2_000])
    return answer


def database_of(release: str) -> str:
    """Return the database of a release's statements."""
    return f"of_{release.replace('.', '_')}"


def record_statements(release: str, work: Path, tree: Path, sent: SentByAgent) -> None:
    """Run indexer and shim of a tree on a new ClickHouse, ask the shim, and keep its statements."""
    # Rows of `up` would be in the answers. 3b2ee7e has neither the rows nor the setting.
    more = {} if release == "3b2ee7e" else NO_UP
    starter, database = Starter(work), database_of(release)
    with running(work / "clickhouse") as port, _recorder(port) as (recorder, statements):
        try:
            url = start_indexer(starter, f"http://127.0.0.1:{port}/{database}", program_in(tree), more)
            post_all(url, sent.requests)
            api = start_shim(starter, f"http://127.0.0.1:{recorder}/{database}", program_in(tree))
            ask_all(api, sent)
        finally:
            starter.clear()
    kept = [one for one in statements if _reads_tables(one)]
    (folder_of(release) / FILE).write_bytes(lzma.compress(msgspec.msgpack.encode(kept), preset=9))


def program_in(tree: Path) -> tuple[str, str]:
    """Return the command of the program in a tree."""
    return sys.executable, str(tree / "meterhouse.py")


def start_indexer(
    starter: Starter, dsn: str, program: tuple[str, ...], more: Mapping[str, str] | None = None
) -> str:
    """Start an indexer on the database; return its URL once it is ready."""
    port = free_port()
    environ = {
        "METERHOUSE_INDEXER__LISTEN": f"127.0.0.1:{port}",
        "METERHOUSE_INDEXER__DSN": dsn,
        "METERHOUSE_INDEXER__BATCHING": "journal",  # 3b2ee7e inserts by async_insert otherwise
        "METERHOUSE_INDEXER__JOURNAL__PATH": str(starter.folder / f"{port}.sqlite"),
        "PYTHONPATH": _path_of(program),
        **KEPT,
        **(more or {}),
    }
    indexer = starter("indexer", environ=environ, program=program)
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert indexer.running, indexer.output
        return get(f"{url}/readyz")[0] == 200

    wait_for(ready, "the indexer is ready", 120)
    return url


def start_shim(starter: Starter, dsn: str, program: tuple[str, ...]) -> Api:
    """Start a shim on the database; return its API once it is ready."""
    port = free_port()
    environ = {
        "METERHOUSE_SHIM__LISTEN": f"127.0.0.1:{port}",
        "METERHOUSE_SHIM__DSN": dsn,
        "PYTHONPATH": _path_of(program),
        **{name.replace("INDEXER", "SHIM"): days for name, days in KEPT.items()},
    }
    starter("shim", environ=environ, program=program)
    api = Api(f"http://127.0.0.1:{port}")
    api.wait_until_ready()
    return api


def _path_of(program: tuple[str, ...]) -> str:
    return str(Path(program[1]).parent)


def post_all(url: str, requests: list[SentRequest]) -> None:
    """Post all requests that an indexer of that release knows."""
    for sent in requests:
        headers = {"Content-Type": sent.content_type}
        request = urllib.request.Request(url + sent.path, data=sent.body, headers=headers, method="POST")
        try:
            urllib.request.urlopen(request, timeout=120).close()
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{sent.path}: {e.code} {e.read()[:500]!r}") from None


def ask_all(api: Api, sent: SentByAgent) -> None:
    """Ask for each value, for ranges, labels and series; fail where a value is not the right one."""
    for value in sent.values:
        wait_for(partial(_is_right, api, value), value.query, 60)
        api.data("query_range", query=value.query, **_RANGE)
    between = {"start": END_S - 1_800, "end": END_S}
    api.data("labels", **between)
    api.data("label/route/values", **between)
    api.data("series", **{"match[]": '{__name__=~"sent_.*"}'}, **between)


def _is_right(api: Api, wanted: SentValue) -> bool:
    return api.one(wanted.query, END_S) == wanted.value


def _reads_tables(statement: RecordedStatement) -> bool:
    text = statement.target.encode() + statement.body
    return b"FROM" in text and b"system." not in text and b"schema_migrations" not in text


def _forward(port: int, target: str, content_type: str, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", target, body=body, headers={"Content-Type": content_type})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@contextmanager
def _recorder(port: int) -> Iterator[tuple[int, list[RecordedStatement]]]:
    """Run a server that passes statements on to another one; yield its port and those that were answered."""
    statements: list[RecordedStatement] = []

    class Recorder(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            content_type = self.headers["Content-Type"] or ""
            status, answer = _forward(port, self.path, content_type, body)
            if status == 200:
                statements.append(RecordedStatement(self.path, content_type, body, answer))
            self._answer(status, answer)

        def do_GET(self) -> None:
            self._answer(*get(f"http://127.0.0.1:{port}{self.path}"))

        def _answer(self, status: int, answer: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], statements
        finally:
            server.shutdown()
            thread.join()
