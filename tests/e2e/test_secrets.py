"""A run with known secrets: they are in no output, no answer and no command line, and files are private."""

from __future__ import annotations

import base64
import json
import re
import socket
import stat
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from indexer.access.grants import digest_of
from tests.e2e.product import Starter, wait_for
from tests.support.ports import free_port

SECRETS: Final = {
    name: f"s3cret-{name}-4711" for name in ("write", "wrong", "read", "admin", "redis", "click")
}
_JSON: Final = {"Content-Type": "application/json"}


def ask(url: str, token: str = "", body: bytes | None = None) -> tuple[int, str]:
    """Status and everything the answer says, headers too."""
    headers = _JSON | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, str(response.headers) + response.read().decode(errors="replace")
    except urllib.error.HTTPError as e:
        with e:
            return e.code, str(e.headers) + e.read().decode(errors="replace")


def command_lines(group: int) -> str:
    """Return the command lines of a process group."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # it has ended
    assert len(found) >= 2
    return "\n".join(found)


def assert_unseen(*texts: str) -> None:
    for text in texts:
        for name, secret in SECRETS.items():
            for form in (secret, base64.b64encode(secret.encode()).decode(), digest_of(secret).hex()):
                assert form not in text, f"{name} in {text[:2000]}"


def settings(folder: Path, ops: int) -> Path:
    tokens_file = folder / "tokens"
    tokens_file.write_text(f"{SECRETS['admin']} *:* admin\n")
    file = folder / "settings.toml"
    file.write_text(f"""
[agent]
ops = "127.0.0.1:{ops}"
[agent.forward]
token = "{SECRETS["wrong"]}"
[indexer]
redis_url = "redis://:{SECRETS["redis"]}@127.0.0.1:{free_port()}/0"
tokens_file = "{tokens_file}"
tokens = {{ "{SECRETS["write"]}" = "1:1" }}
[shim.tenancy]
mode = "token"
tokens_file = "{tokens_file}"
tokens = {{ "sha256:{digest_of(SECRETS["read"]).hex()}" = "1:1" }}
""")
    file.chmod(0o644)
    return file


def test_a_run_shows_no_secret(start: Starter, tmp_path: Path) -> None:
    ops = free_port()
    file = settings(tmp_path, ops)
    up = start(
        "up", "--config", str(file), "--data", str(tmp_path / "data"),
        "--statsd", "127.0.0.1:0", "--indexer", "127.0.0.1:0", "--api", "127.0.0.1:0",
    )  # fmt: skip
    indexer = up.find(r"frames +(http://\S+)/v1/frames")[1]
    api = up.find(r"Prometheus API +(http://\S+)")[1]
    agent = f"http://127.0.0.1:{ops}"
    message = {
        "org_id": 1, "project_id": 1, "name": "hits", "timestamp": int(time.time()), "type": "c", "value": 1,
    }  # fmt: skip
    bodies = [json.dumps(message).encode(), json.dumps(message | {"org_id": 2}).encode(), b"["]
    said = []
    for token in (*SECRETS.values(), ""):
        said += [ask(f"{indexer}/v1/messages", token, body) for body in bodies]
        said += [ask(f"{indexer}{path}", token) for path in ("/status", "/metrics", "/readyz")]
        said += [
            ask(f"{api}{path}", token) for path in ("/metrics", "/api/v1/labels", "/api/v1/query?query=")
        ]
    assert {status for status, _ in said} >= {200, 400, 401, 403}
    host, port = up.find(r"udp ([\d.]+):(\d+)").groups()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hits:1|c|T%d" % (time.time() - 60), (host, int(port)))
    refused = "the indexer refuses the token: 401"
    wait_for(lambda: refused in ask(f"{agent}/readyz")[1], refused, 240)
    said += [ask(f"{agent}/metrics"), ask(f"{agent}/readyz"), (0, command_lines(up.pid))]
    _, text = ask(f"{indexer}/metrics", SECRETS["admin"])
    assert re.search(r'refused_total\{reason="forbidden"\} [1-9]', text)
    assert up.terminate() == 0  # lines that the agent could not send are in its spool
    assert "chmod 600" in up.output
    assert_unseen(up.output, *(text for _, text in said))
    data = tmp_path / "data"
    assert all(not path.stat().st_mode & 0o077 for path in (data, data / "chdb", *data.glob("*.sqlite*")))
    assert stat.S_ISREG((data / "chdb.journal.sqlite").stat().st_mode)


def test_a_server_that_is_away(start: Starter) -> None:
    dsn = f"http://user:{SECRETS['click']}@127.0.0.1:{free_port()}/db"
    for command, variable in (("indexer", "METERHOUSE_INDEXER__DSN"), ("shim", "METERHOUSE_SHIM__DSN")):
        process = start(command, environ={variable: dsn})
        process.find(r"event=waiting_for_store .*ClickHouse at 127.0.0.1:\d+ cannot be reached")
        assert process.terminate() == 0
        assert_unseen(process.output)
