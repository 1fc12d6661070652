"""The processes of a run: indexers, shims and Redis over one test server of ClickHouse."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from redis import Redis

from tests.bench.many_indexers import Indexers
from tests.e2e.product import Api, get
from tests.faults.actors.entrance import web_address
from tests.faults.actors.processes import Actor
from tests.support.foreign_redis import FOREIGN, heal
from tests.support.redis_server import RedisServer

#: Seconds between two ticks, each of which adds 1 to a counter. They are INSERTs of their own, and so few.
TICK_S: Final = 30
_RULES: Final = f"""
groups:
- name: ticks
  interval: {TICK_S}s
  rules:
  - record: ticked
    expr: vector(1)
    labels: {{__type__: counter}}
"""
#: Metrics whose values say how often Redis was not of use.
_OF_REDIS: Final = (
    "meterhouse_indexer_redis_failures",
    "meterhouse_indexer_redis_ignored_values",
    "meterhouse_shim_lease_failures_total",
)


class KilledRedis:
    """A Redis that may be killed, and that another program may write to."""

    def __init__(self, folder: Path) -> None:
        self.server = RedisServer(folder)
        self._client: Any = None
        self._refuses = False
        self.server.start()

    @property
    def client(self) -> Any:
        """One connection, which stays when others are refused."""
        if self._client is None:
            self._client = Redis.from_url(self.server.url, single_connection_client=True)
        return self._client

    def kill(self) -> None:
        """Kill it."""
        self.server.stop()
        self._client = None

    def start(self) -> None:
        """Start it, empty."""
        self.server.start()

    def act(self, kind: str) -> None:
        """Take back the last refusals, and write values or refuse."""
        self.heal()
        FOREIGN[kind](self.client)
        self._refuses = True

    def heal(self) -> None:
        """Take back refusals."""
        if self._refuses:
            heal(self.client)
            self._refuses = False


class Shims:
    """APIs with a rule group that one of them evaluates."""

    def __init__(self, folder: Path, count: int, dsn: str, indexers: Sequence[str], redis_url: str) -> None:
        rules = folder / "rules"
        rules.mkdir()
        (rules / "r.yml").write_text(_RULES)
        self.apis: list[Api] = []
        self.actors: list[Actor] = []
        for _ in range(count):
            url, address = web_address()
            self.apis.append(Api(url))
            environ = {
                "METERHOUSE_SHIM__LISTEN": address,
                "METERHOUSE_SHIM__DSN": dsn,
                "METERHOUSE_SHIM__INDEXERS__URLS": json.dumps(list(indexers)),
                "METERHOUSE_SHIM__LEASE__REDIS_URL": redis_url,
                "METERHOUSE_SHIM__LEASE__TTL_S": "2",
                "METERHOUSE_SHIM__RULES__PATH": str(rules),
                "METERHOUSE_SHIM__RULES__MAX_LATE_TICKS": "1000",
            }
            self.actors.append(Actor(folder, ["shim"], _ready(f"{url}/-/ready"), environ))


class Services:
    """Indexers, shims and Redis; `count_redis` sums their metrics of Redis over all their runs."""

    def __init__(self, folder: Path, dsn: str, indexers: int, shims: int, parts_per_s: float) -> None:
        self._folder = folder
        self.redis = KilledRedis(folder)
        self.indexers = Indexers(folder, indexers, dsn)
        for number, actor in enumerate(self.indexers.actors):
            actor.environ["METERHOUSE_INDEXER__REDIS_URL"] = self.redis.server.url
            actor.environ["METERHOUSE_INDEXER__BATCH__PARTS_PER_S"] = str(parts_per_s)
            # the test server counts INSERTs by user
            actor.environ["METERHOUSE_INDEXER__DSN"] = dsn.replace("://", f"://indexer-{number}:x@")
        self.shims = Shims(folder, shims, dsn, self.indexers.urls, self.redis.server.url)
        self.redis_counts: Counter[str] = Counter()
        self.actors: Mapping[str, Actor] = {
            **{f"indexer {n}": actor for n, actor in enumerate(self.indexers.actors)},
            **{f"shim {n}": actor for n, actor in enumerate(self.shims.actors)},
        }
        self._urls = {
            **{f"indexer {n}": url for n, url in enumerate(self.indexers.urls)},
            **{f"shim {n}": api.url for n, api in enumerate(self.shims.apis)},
        }

    def start(self) -> None:
        """Start all, and wait until they are ready."""
        for actor in self.actors.values():
            actor.launch()
        for actor in self.actors.values():
            actor.start()

    def kill(self, name: str) -> None:
        """Kill a process."""
        self.count_redis(name)
        self.actors[name].kill()

    def missed_ticks(self) -> int:
        """Return the ticks that shims gave up as late: their group took longer than its interval."""
        texts = (file.read_text(errors="replace") for file in self._folder.glob("shim-*.log"))
        return sum(
            int(n) for text in texts for n in re.findall(r"event=rule_ticks_missed .* ticks=(\d+)", text)
        )

    def count_redis(self, name: str) -> None:
        """Add the metrics of Redis of the present run of a process."""
        for line in get(f"{self._urls[name]}/metrics", 5)[1].decode().splitlines():
            if line.startswith(_OF_REDIS):
                key, _, value = line.removeprefix("meterhouse_").rpartition(" ")
                self.redis_counts[key] += int(float(value))

    def clear(self) -> None:
        """End all."""
        for actor in self.actors.values():
            actor.clear()
        self.redis.server.stop()


def _ready(url: str) -> Any:
    return lambda: get(url, 5)[0] == 200
