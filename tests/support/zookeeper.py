"""A real ZooKeeper for tests: Debian's libzookeeper-java, one of each test's own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from tests.support.ports import free_port

_JAR: Final = Path("/usr/share/java/zookeeper.jar")
_START_S: Final = 120.0


def lacking() -> str:
    """Return the packages that are not installed, in words; empty: none."""
    missing = [] if shutil.which("java") else ["default-jre-headless"]
    return " and ".join([*missing, *([] if _JAR.exists() else ["libzookeeper-java"])])


@contextmanager
def running(directory: Path) -> Iterator[int]:
    """Yield the port of a server whose data is in `directory`."""
    port = free_port()
    command = ["java", "-Xmx128m", "-cp", str(_JAR), "-Dzookeeper.admin.enableServer=false"]
    command += ["org.apache.zookeeper.server.ZooKeeperServerMain", str(port), str(directory)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            deadline_s = time.monotonic() + _START_S
            while not _answers(port):
                assert child.poll() is None, "ZooKeeper ended"
                assert time.monotonic() < deadline_s, "ZooKeeper did not start"
                time.sleep(0.05)
            yield port
        finally:
            child.kill()


def _answers(port: int) -> bool:
    with closing(socket.socket()) as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
