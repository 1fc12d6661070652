"""Common clients, over UDP, through the whole product: PyPI's statsd and datadog, hot-shots, bash.

tests/e2e/test_client_types.py sends all types they know, over all their ways, to the agent alone.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import statsd
from datadog.dogstatsd.base import DogStatsd

from tests.e2e.product import Up, wait_for

pytestmark = pytest.mark.e2e


def _statsd(host: str, port: int, prefix: str) -> None:
    client = statsd.StatsClient(host, port, prefix=prefix)
    with client.pipeline() as pipe:
        for i in range(100):
            pipe.incr("count", 2)
            pipe.timing("time", 0.25)
            pipe.timing("time", 0.75)
            pipe.set("users", f"u{i % 7}")
    client.gauge("depth", 5)
    client.gauge("depth", 3, delta=True)
    client.gauge("depth", -1, delta=True)
    client.close()


def _datadog(host: str, port: int, prefix: str) -> None:
    client = DogStatsd(
        host=host, port=port, namespace=prefix, disable_telemetry=True, disable_aggregation=True
    )
    for i in range(100):
        client.increment("count", 2, tags=["route:/cart", "odd:ä b"])
        client.distribution("time", 0.25)
        client.histogram("time", 0.75)
        client.set("users", f"u{i % 7}")
    client.gauge("depth", 7)
    client.event("deploy", "is dropped")
    client.flush()
    client.stop()
    client.close_socket()


def _hot_shots(host: str, port: int, prefix: str) -> None:
    folder = Path(__file__).parent / "node"
    assert (folder / "node_modules" / "hot-shots").is_dir(), "`make test` installs it with npm ci"
    subprocess.run(["node", str(folder / "send.js"), host, str(port), prefix], check=True, timeout=120)


def _bash(host: str, port: int, prefix: str) -> None:
    script = f"""
      for i in $(seq 1 100); do
        printf '{prefix}.count:2|c\\n{prefix}.time:0.25:0.75|d\\n{prefix}.users:u%d|s' $((i % 7)) \
          > /dev/udp/{host}/{port}
      done
      printf '{prefix}.depth:7|g' > /dev/udp/{host}/{port}"""
    subprocess.run(["bash", "-c", script], check=True, timeout=120)


@pytest.mark.parametrize(
    ("send", "tags"),
    [
        (_statsd, {}),
        (_datadog, {"route": "/cart", "odd": "ä_b"}),  # the client itself puts _ for blanks
        (_hot_shots, {"route": "/cart", "odd": "ä b"}),
        (_bash, {}),
    ],
)
def test_client(product: Up, send: Callable[[str, int, str], None], tags: dict[str, str]) -> None:
    name = f"client{send.__name__}"
    send(*product.udp, name)
    at = time.time() + 20
    product.api.wait_until(f"sum(increase({name}_count[5m]))", at, 200)
    product.api.wait_until(f"histogram_count(sum(increase({name}_time[5m])))", at, 200)
    assert product.api.one(f"histogram_sum(sum(increase({name}_time[5m])))", at) == 100
    product.api.wait_until(f"sum(sum_over_time({name}_users[5m]))", at, 7)  # stored after the others
    wait_for(lambda: product.api.one(f"{name}_depth", at) == 7, "the gauge is 7", 240)
    labels = tuple(sorted(tags.items()))
    assert product.api.instant(f"increase({name}_count[5m])", at) == {labels: 200.0}
