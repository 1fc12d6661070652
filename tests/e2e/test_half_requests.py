"""Half requests against `meterhouse up` that may open 1,024 files, as many systems have it."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.product import PROGRAM, Up

pytestmark = pytest.mark.e2e
LIMITED = ("sh", "-c", 'ulimit -n 1024 && exec "$0" "$@"', *PROGRAM)


def test_ingest_and_queries_go_on(tmp_path: Path) -> None:
    up = Up(tmp_path, program=LIMITED)
    try:
        up.ready()
        with ExitStack() as stack:
            for url in (up.indexer, up.api.url):
                at = urlsplit(url)
                assert at.port is not None
                for _ in range(600):
                    sock = stack.enter_context(socket.create_connection(("127.0.0.1", at.port)))
                    sock.sendall(b"POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nX: ")
            now = int(time.time())
            for number in range(1, 4):
                _write(up.indexer, now)
                up.api.wait_until("sum(increase(written[1h]))", now + 600, number)
    finally:
        up.clear()


def _write(indexer: str, now_s: int) -> None:
    message = {"org_id": 1, "project_id": 1, "name": "written", "type": "c", "value": 1, "timestamp": now_s}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{indexer}/v1/messages", json.dumps(message).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as response:
        assert response.status == 200
