"""Services of Meterhouse in processes of their own, on free ports, ready when they are given."""

from __future__ import annotations

from collections.abc import Mapping

from tests.e2e.product import Api, Process, Starter, get, wait_for
from tests.support.ports import free_port


class Services:
    """Starts services on one store and waits until they are ready."""

    def __init__(self, start: Starter, dsn: str, redis_url: str = "") -> None:
        self._start = start
        self._dsn = dsn
        self._redis_url = redis_url

    def indexer(self, environ: Mapping[str, str] | None = None) -> tuple[Process, str]:
        """Return the process and its URL."""
        port = free_port()
        process = self._start("indexer", environ={
            "METERHOUSE_INDEXER__LISTEN": f"127.0.0.1:{port}",
            "METERHOUSE_INDEXER__DSN": self._dsn,
            "METERHOUSE_INDEXER__REDIS_URL": self._redis_url,
            **(environ or {}),
        })  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: get(f"{url}/readyz")[0] == 200, process.output, 240)
        return process, url

    def agent(self, indexer: str, pod: str, environ: Mapping[str, str] | None = None) -> tuple[Process, int]:
        """Return the process and its port for lines over TCP."""
        return start_agent(self._start, indexer, pod, environ)

    def api(self, environ: Mapping[str, str] | None = None) -> Api:
        port = free_port()
        self._start("shim", environ={
            "METERHOUSE_SHIM__LISTEN": f"127.0.0.1:{port}",
            "METERHOUSE_SHIM__DSN": self._dsn,
            **(environ or {}),
        })  # fmt: skip
        api = Api(f"http://127.0.0.1:{port}")
        api.wait_until_ready()
        return api


def start_agent(
    start: Starter, indexer: str, pod: str, environ: Mapping[str, str] | None = None
) -> tuple[Process, int]:
    """Return an agent for an indexer at this URL; the process and its port for lines over TCP."""
    statsd, ops = free_port(), free_port()
    process = start("agent", environ={
        "METERHOUSE_AGENT__UDP": "",
        "METERHOUSE_AGENT__TCP": f"127.0.0.1:{statsd}",
        "METERHOUSE_AGENT__OPS": f"127.0.0.1:{ops}",
        "METERHOUSE_AGENT__NAME": pod,
        "METERHOUSE_AGENT__TAGS": f'{{"pod": "{pod}"}}',
        "METERHOUSE_AGENT__FORWARD__URL": indexer,
        **(environ or {}),
    })  # fmt: skip
    wait_for(lambda: get(f"http://127.0.0.1:{ops}/readyz")[0] == 200, process.output, 240)
    return process, statsd
