"""`meterhouse up` as deploy/secure has it: certificates, rights, and renewal while it runs."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.product import ROOT, Starter, wait_for

pytestmark = pytest.mark.e2e
SECURE = ROOT / "deploy" / "secure"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Provide the files of deploy/secure, in a folder of the test."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl: deploy/secure/certificates.sh cannot be run")
    renew(tmp_path)
    shutil.copy(SECURE / "tokens", tmp_path / "tokens")
    file = tmp_path / "meterhouse.toml"
    file.write_text((SECURE / "meterhouse.toml").read_text().replace("/etc/meterhouse", str(tmp_path)))
    return file


def renew(folder: Path) -> None:
    subprocess.run(
        [SECURE / "certificates.sh", folder / "tls", "indexer.internal"], check=True, capture_output=True
    )


def get(url: str, context: ssl.SSLContext, token: str = "") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, context=context, timeout=120) as answer:
            return answer.status, str(answer.read(), "utf-8")
    except urllib.error.HTTPError as e:
        with e:
            return e.code, str(e.read(), "utf-8")


def send(address: tuple[str, int], context: ssl.SSLContext, lines: bytes) -> None:
    plain = socket.create_connection(address, timeout=120)
    with context.wrap_socket(plain, server_hostname="localhost") as sock:
        sock.sendall(lines)
        sock.unwrap()


def test_up_with_tls_and_least_rights(settings: Path, tmp_path: Path) -> None:
    tls = tmp_path / "tls"
    anybody = ssl.create_default_context(cafile=tls / "ca.pem")
    app = ssl.create_default_context(cafile=tls / "ca.pem")
    app.load_cert_chain(tls / "app.pem", tls / "app.key")
    start = Starter(tmp_path)
    try:
        program = start(
            *("up", "--config", str(settings), "--data", str(tmp_path / "data")),
            *("--statsd", "127.0.0.1:0", "--indexer", "127.0.0.1:0", "--api", "127.0.0.1:0"),
            environ={"METERHOUSE_AGENT__OPS": "127.0.0.1:0"},
        )
        api = program.find(r"Prometheus API +(https://\S+)")[1]
        indexer = program.find(r"frames +(https://\S+)/v1/frames")[1]
        tcp = urlsplit("//" + program.find(r"tcp ([^\s,]+)")[1])
        assert tcp.hostname is not None
        assert tcp.port is not None
        at = tcp.hostname, tcp.port
        wait_for(lambda: get(f"{api}/-/ready", anybody)[0] == 200, "ready", 240)

        def counted() -> float:
            query = urllib.parse.urlencode({"query": "sum(increase(n[1h]))", "time": time.time() + 600})
            status, text = get(f"{api}/api/v1/query?{query}", anybody, "change-me-grafana")
            assert status == 200, text
            result: list[Any] = json.loads(text)["data"]["result"]
            return float(result[0]["value"][1]) if result else 0.0

        send(at, app, b"n:1|c\n")
        with suppress(OSError):  # with TLS 1.3 a client may hear of its refusal too late
            send(at, anybody, b"n:100|c\n")
        wait_for(lambda: counted() == 1.0, "the line of the app", 240)

        assert get(f"{api}/api/v1/query?query=1", anybody)[0] == 401
        assert get(f"{api}/api/v1/query?query=1", anybody, "change-me-prometheus")[0] == 403
        assert get(f"{indexer}/metrics", anybody, "change-me-prometheus")[0] == 200
        assert get(f"{indexer}/metrics", app)[0] == 401, "a certificate that no line names"

        def served() -> str:
            at = urlsplit(indexer)
            assert at.hostname is not None
            assert at.port is not None
            return ssl.get_server_certificate((at.hostname, at.port))

        before = served()
        renew(tmp_path)
        wait_for(lambda: served() != before, "the renewed certificate", 240)
        app.load_cert_chain(tls / "app.pem", tls / "app.key")
        send(at, app, b"n:2|c\n")
        wait_for(lambda: counted() == 3.0, "a line after the renewal", 240)
        assert program.terminate() == 0
        assert "Traceback" not in program.output
        assert len(re.findall("certificates_read", program.output)) >= 2
    finally:
        start.clear()
