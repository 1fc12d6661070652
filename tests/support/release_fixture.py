"""Makes the fixture of a release, which tests of upgrades open from then on (tests/support/releases.py).

python -m tests.support.release_fixture RELEASE               all of it, of this tree
python -m tests.support.release_fixture RELEASE --tree TREE   only requests, statements and spool, of TREE
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.forward.spool.backlog import Backlog
from agent.wire import frame as wire
from tests.e2e.product import PROGRAM, Process, Starter, Up, send_tcp, wait_for
from tests.support.ports import free_port
from tests.support.release_statements import record_statements
from tests.support.releases import (
    END_S,
    LEVEL,
    SPOOLED,
    SentByAgent,
    SentRequest,
    SentValue,
    SpooledTruth,
    folder_of,
)

#: The first fixture: its settings and requests are those of all.
_FIRST: Final = "3b2ee7e"
_START_S: Final = END_S - 1_800
_SPOOLED_LINES: Final = 40


def main() -> None:
    """Make the fixture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release")
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--no-shim", action="store_true", help="leave the statements of its shim out")
    parser.add_argument("--no-spool", action="store_true", help="the agent has none")
    args = parser.parse_args()
    folder = folder_of(args.release)
    folder.mkdir(exist_ok=True)
    program = (sys.executable, str(args.tree.resolve() / "meterhouse.py")) if args.tree else PROGRAM
    with tempfile.TemporaryDirectory() as work:
        if args.tree is None:
            _make_settings(folder)
            _make_store(folder, Path(work) / "store")
        prefix = f"sent.{args.release.replace('.', '_')}"
        requests = _record(Path(work) / "sent", program, prefix)
        spooled = None if args.no_spool else _make_spool(folder, Path(work) / "spool", program)
        sent = SentByAgent([*requests, _message(prefix)], _values(prefix.replace(".", "_")), spooled)
        if not args.no_shim:
            record_statements(args.release, Path(work) / "statements", Path(program[1]).parent, sent)
    text = json.dumps(json.loads(msgspec.json.encode(sent)), indent=1)
    (folder / "sent.json").write_text(f"{text}\n")
    print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()):,} bytes")


def _make_settings(folder: Path) -> None:
    """Write all settings with their defaults."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("METERHOUSE_")}
    command = [*PROGRAM, "check-config", "--all"]
    done = subprocess.run(command, env=environ, capture_output=True, check=True)
    (folder / "settings.toml").write_bytes(done.stdout)


def _make_store(folder: Path, work: Path) -> None:
    """Run the product, ask it the questions of the first fixture, and keep its data directory."""
    first = folder_of(_FIRST)
    for name in ("meterhouse.toml", "frame.bin"):
        if folder != first:
            shutil.copy(first / name, folder / name)
    starter = Starter(work)
    try:
        up = starter.up(environ={"METERHOUSE_CONFIG": str(folder / "meterhouse.toml")})
        up.send(_store_lines())
        _post(f"{up.indexer}/v1/frames", (folder / "frame.bin").read_bytes(), wire.CONTENT_TYPE)
        identified = {
            "timestamp": _START_S + 60, "type": "c", "value": 42, "metric_id": 12345, "tags": {"env": "prod"},
            "org_id": 1, "project_id": 1,
        }  # fmt: skip
        _post(f"{up.indexer}/v1/messages", json.dumps([identified]).encode(), "application/json")
        for query, value in (
            ("sum(increase(old_requests[1h]))", 1_800.0),
            ("sum(increase(old_framed[1h]))", 7),
        ):
            up.api.wait_until(query, END_S, value)
        (folder / "answers.json").write_text(json.dumps(_ask(up, first), indent=1) + "\n")
        assert up.terminate() == 0, up.output
    finally:
        starter.clear()
    _pack(folder / "data.tar.xz", work, ["data"])


def _store_lines() -> Iterator[str]:
    """Yield 1,800 requests in 30 minutes, and for each fifth a duration, a depth and a user."""
    for i in range(1_800):
        at = _START_S + i
        route = ("/cart", "/home", "/pay")[i % 3]
        yield f"old.requests:1|c|#route:{route},status:{500 if i % 20 == 0 else 200}|T{at}"
        if i % 5 == 0:
            yield f"old.duration:{0.05 + i % 60 / 200}|d|#route:{route}|T{at}"
            yield f"old.depth:{i % 150 - 20}|g|#queue:{route[1:]}|T{at}"
            yield f"old.users:user-{i % 35}|s|#region:eu|T{at}"


def _ask(up: Up, first: Path) -> list[dict[str, Any]]:
    asked = json.loads((first / "answers.json").read_text())
    return [{**one, "data": up.api.data(one["path"], **one["parameters"])} for one in asked]


def _post(url: str, body: bytes, content_type: str) -> None:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": content_type}, method="POST")
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 200


def _message(prefix: str) -> SentRequest:
    message = {
        "org_id": 1, "project_id": 1, "name": f"{prefix}.messages", "timestamp": _START_S + 30,
        "tags": {"route": "/cart"}, "type": "c", "value": 5,
    }  # fmt: skip
    return SentRequest("/v1/messages", "application/json", json.dumps(message).encode())


def _sent_lines(prefix: str) -> list[str]:
    """Return 300 lines of each type in 10 buckets."""
    lines = []
    for i in range(300):
        tail = f"|#route:{('/a', '/b')[i % 2]}|T{_START_S + i // 3}"
        lines += [f"{prefix}.requests:{i}|c{tail}", f"{prefix}.duration:{i}|ms|@0.5{tail}"]
        lines += [f"{prefix}.users:u{i % 7}|s{tail}", f"{prefix}.depth:{-i}|g{tail}"]
    return lines


def _values(name: str) -> list[SentValue]:
    """Return the truth about `_sent_lines` and `_message`."""
    return [
        SentValue(f"sum(increase({name}_requests[1h]))", float(sum(range(300)))),
        SentValue(f"sum(increase({name}_duration_count[1h]))", 600.0),
        SentValue(f"sum(increase({name}_duration_sum[1h]))", 2.0 * sum(range(300))),
        SentValue(f'min(min_over_time({name}_depth{{route="/b"}}[1h]))', -299.0),
        SentValue(f'max(last_over_time({name}_depth{{route="/a"}}[1h]))', -298.0),
        SentValue(f"sum(sum_over_time({name}_users[1h]))", 7.0),
        SentValue(f"sum(increase({name}_messages[1h]))", 5.0),
    ]


def _agent_environ(statsd: int, url: str) -> dict[str, str]:
    return {
        "METERHOUSE_AGENT__UDP": "",
        "METERHOUSE_AGENT__TCP": f"127.0.0.1:{statsd}",
        "METERHOUSE_AGENT__OPS": "127.0.0.1:0",
        "METERHOUSE_AGENT__NAME": "of-a-release",
        "METERHOUSE_AGENT__FORWARD__URL": url,
        "METERHOUSE_AGENT__AGGREGATE__LATENESS_S": str(40 * 86_400),
    }


@contextmanager
def _agent(work: Path, program: Iterable[str], environ: Mapping[str, str]) -> Iterator[Process]:
    process = Process(work, "agent", environ=environ, program=tuple(program))
    try:
        yield process
    finally:
        process.clear()


def _send(agent: Process, statsd: int, lines: list[str]) -> None:
    def sent() -> bool:
        assert agent.running, agent.output
        try:
            send_tcp(("127.0.0.1", statsd), lines)
        except ConnectionRefusedError:
            return False
        return True

    wait_for(sent, "the agent listens", 60)


def _record(work: Path, program: Iterable[str], prefix: str) -> list[SentRequest]:
    """Run the agent against a server that notes its requests, as an indexer that knows frames alone."""
    requests: list[SentRequest] = []

    class Recorder(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append(SentRequest(self.path, self.headers["Content-Type"], body))
            answer = b'{"rows": 1}'
            self.send_response(404 if self.path == "/v1/bundles" else 200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    statsd = free_port()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            environ = _agent_environ(statsd, f"http://127.0.0.1:{server.server_address[1]}")
            with _agent(work, program, environ) as agent:
                _send(agent, statsd, _sent_lines(prefix))
                assert agent.terminate() == 0, agent.output
        finally:
            server.shutdown()
            thread.join()
    return requests


def _make_spool(folder: Path, work: Path, program: Iterable[str]) -> SpooledTruth:
    """Run the agent without an indexer, kill it when its spool has all lines, and keep its directories."""
    statsd = free_port()
    environ = {
        **_agent_environ(statsd, f"http://127.0.0.1:{free_port()}"),
        "METERHOUSE_AGENT__SPOOL__PATH": str(work / "spool"),
        "METERHOUSE_AGENT__SPOOL__CHECKPOINT_MS": "100",
        "METERHOUSE_AGENT__STATE_DIR": str(work / "state"),
        "METERHOUSE_AGENT__STATE_INTERVAL_S": "1",
    }
    lines = [
        *(f"{SPOOLED}:1|c|#n:{i % 4}" for i in range(_SPOOLED_LINES - 2)),
        f"{LEVEL}:41|g",
        f"{LEVEL}:+2|g",
    ]
    with _agent(work, program, environ) as agent:
        _send(agent, statsd, lines)
        wait_for(lambda: spooled_total(work / "spool", work / "copy") == _SPOOLED_LINES - 2, "the spool", 60)
        wait_for((work / "state" / "last_values").is_file, "the state", 60)
        agent.kill()
    _pack(folder / "agent.tar.xz", work, ["spool", "state"])
    return SpooledTruth(float(_SPOOLED_LINES - 2), _SPOOLED_LINES, 43.0, time.time_ns() // 1_000_000)


def spooled_total(spool: Path, copy: Path) -> float:
    """Return the sum of the counters in a spool, read from a copy of it."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(spool, copy)
    backlog = Backlog(copy, 1 << 30, 2_592_000, lambda: time.time_ns() // 1_000_000)
    total = 0.0
    try:
        while (taken := backlog.take()) is not None:
            values = wire.decode(taken[0].data).counters.value
            total += sum(value for (value,) in struct.iter_unpack("<d", values))
    finally:
        backlog.close()
    return total


def _pack(archive: Path, work: Path, names: Iterable[str]) -> None:
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for name in names:
            tar.add(work / name, name)


if __name__ == "__main__":
    main()
