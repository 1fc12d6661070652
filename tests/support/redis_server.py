"""A real redis-server for tests, one of each test's own."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis


class RedisServer:
    """Debian's redis-server on a socket in a directory; `durable`: it keeps each write on disk."""

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self._directory = directory
        self._durable = ("--appendonly", "yes", "--appendfsync", "always") if durable else ()
        self.socket = directory / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = shutil.which("redis-server")
        assert binary is not None, "redis-server is not installed"
        self._child = subprocess.Popen(
            [
                binary,
                "--port",
                "0",
                "--unixsocket",
                str(self.socket),
                "--save",
                "",
                "--dir",
                str(self._directory),
                *self._durable,
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + 120
        client = redis.Redis.from_url(self.url)
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "redis-server did not start"
                time.sleep(0.01)
        client.close()

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP hangs it."""
        assert self._child is not None
        self._child.send_signal(number)

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def durable_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Provide a server that keeps each write on disk."""
    server = RedisServer(tmp_path, durable=True)
    server.start()
    yield server
    server.stop()
