"""Debian's prometheus-alertmanager for tests, with a webhook of the test's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.children import end
from tests.support.ports import free_port

_CONFIG = """
route:
  {{receiver: test, group_by: [{group_by}], group_wait: 200ms, group_interval: 500ms, repeat_interval: 1h}}
receivers:
- name: test
  webhook_configs: [{{url: '{url}', send_resolved: true}}]
"""


class AlertmanagerServer:
    """One Alertmanager; its port and its data survive a restart."""

    def __init__(self, directory: Path, webhook_url: str, group_by: str = "alertname") -> None:
        self._directory = directory
        self._config = directory / "alertmanager.yml"
        self._config.write_text(_CONFIG.format(url=webhook_url, group_by=group_by))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = shutil.which("prometheus-alertmanager")
        assert binary is not None, "prometheus-alertmanager is not installed"
        self._child = subprocess.Popen(
            [
                binary,
                f"--config.file={self._config}",
                f"--storage.path={self._directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--cluster.listen-address=",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/-/ready", timeout=30).close()
                return
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < deadline, "prometheus-alertmanager did not start"
                time.sleep(0.02)

    def ask(self, path: str, body: Any = None) -> Any:
        """Ask its API v2: GET, or POST of a body as JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/api/v2/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read() or b"null")

    def silence(self, name: str) -> None:
        """Silence the alerts of a name for an hour."""
        self.ask(
            "silences",
            {
                "matchers": [{"name": "alertname", "value": name, "isRegex": False, "isEqual": True}],
                "startsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "endsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3_600)),
                "createdBy": "test",
                "comment": "test",
            },
        )

    def stop(self) -> None:
        """End it in order: it remembers the notifications that it sent."""
        if self._child is not None:
            child, self._child = self._child, None
            end(child)

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
