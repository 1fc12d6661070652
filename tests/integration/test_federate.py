"""`/federate` as other programs read it: prometheus-client's parser, and a real Prometheus."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from indexer.clickhouse.retention import Retention
from indexer.clickhouse.schema.migrate import migrate
from indexer.clickhouse.store import Store
from shim.service import ShimService
from shim.settings import ShimSettings
from tests.support.pipeline import Pipeline
from tests.support.ports import free_port

DEADLINE_S = 120
ALL = '{__name__=~".+"}'


@asynccontextmanager
async def serving(store: Store) -> AsyncIterator[str]:
    service = ShimService(ShimSettings(listen="127.0.0.1:0", settle_s=0.0), store=store)
    await service.start()
    try:
        yield f"http://{service.address}"
    finally:
        await service.stop()


@pytest.fixture
def at_s(store: Store) -> int:
    """Provide the start of a bucket that has ended, with lines of each type in it."""
    migrate(store, Retention())
    at_s = int(time.time()) // 10 * 10 - 30
    pipeline = Pipeline.open(store, at_s * 1000)
    t = f"|T{at_s + 3}"
    hostile = 'x"} 1\nforged{'
    pipeline.send(
        [f"shop.lat:{v}|d|#job:web{t}" for v in (0.1, 0.25, 0.5, 2, 0)]
        + [f"hits:7|c|#job:web,{hostile.replace(chr(10), '')}:v{t}", f"temp:21.5|g|#k8s.pod:p{t}"]
        + [f"users:{u}|s{t}" for u in "abc"]
        + [f"own:1|d{t}", f"own_count:40|g{t}"]
    )
    pipeline.close()
    return at_s


async def samples(base: str, *selectors: str) -> tuple[dict[str, str], list[Sample]]:
    """Types by family, and all samples."""
    params = [("match[]", selector) for selector in selectors]
    async with aiohttp.ClientSession() as session, session.get(f"{base}/federate", params=params) as reply:
        assert reply.status == 200, await reply.text()
        families = list(text_string_to_metric_families(await reply.text()))
    found = [s for f in families for s in f.samples]
    # The parser calls counters as OpenMetrics does.
    found = [s._replace(name=s.name.removesuffix("_total")) for s in found]
    return {f.name: f.type for f in families}, found


async def test_types_times_and_classic_series(store: Store, at_s: int) -> None:
    async with serving(store) as base:
        types, found = await samples(base, ALL)
        assert types == {"hits": "counter", "shop_lat": "histogram", "temp": "gauge", "users": "gauge",
                         "own": "histogram", "own_count": "gauge"}  # fmt: skip
        now_s = time.time()
        for one in found:
            assert isinstance(one.timestamp, float)
            if one.name in ("temp", "own_count"):
                assert one.timestamp == at_s + 3
            else:
                assert one.timestamp % 10 == 0
                assert at_s + 10 <= one.timestamp <= now_s
        values = {(s.name, s.labels.get("le", "")): s.value for s in found}
        assert values["shop_lat_count", ""] == values["shop_lat_bucket", "+Inf"] == 5
        assert values["shop_lat_sum", ""] == pytest.approx(2.85)
        assert values["shop_lat_bucket", "0.0"] == 1
        assert values["users", ""] == 3
        assert values["own_count", ""] == 40  # the stored one
        assert len({(s.name, tuple(sorted(s.labels.items()))) for s in found}) == len(found)


async def test_names_that_the_label_api_lists_are_matched(store: Store, at_s: int) -> None:
    async with serving(store) as base:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{base}/api/v1/label/__name__/values") as reply,
        ):
            names = (await reply.json())["data"]
        for name in names:
            _, found = await samples(base, name)
            assert found, name
        _, few = await samples(base, 'shop_lat_bucket{le="0.3"}', "shop_lat_bucket{le=~'1|0.30'}")
        assert [(s.labels["le"], s.value) for s in few] == [("0.3", 3), ("1.0", 4)]


async def _ask(url: str, query: str) -> list[Any]:
    async with aiohttp.ClientSession() as session, session.get(url, params={"query": query}) as reply:
        if reply.status != 200:  # it is starting
            return []
        return list((await reply.json())["data"]["result"])


async def _named(url: str) -> dict[str, float]:
    """Return the last values by labels; none where the last scrape failed."""
    named = {}
    for one in await _ask(url, '{__name__=~".+",__name__!~"up|scrape_.*"}'):
        added = {"instance", *(("job",) if one["metric"]["job"] == "meterhouse" else ())}
        labels = {k: v for k, v in one["metric"].items() if k not in added}
        named[json.dumps(labels, sort_keys=True)] = float(one["value"][1])
    return named


async def test_a_real_prometheus_federates_everything(store: Store, at_s: int, tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("NO REFERENCE: `prometheus` is not installed")
    async with serving(store) as base:
        config = {"scrape_configs": [{
            "job_name": "meterhouse", "scrape_interval": "1s", "scrape_timeout": "1s", "honor_labels": True,
            "metrics_path": "/federate", "params": {"match[]": [ALL]},
            "static_configs": [{"targets": [base.removeprefix("http://")]}],
        }]}  # fmt: skip
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        port = free_port()
        with (tmp_path / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                    program, f"--config.file={tmp_path}/prometheus.yml",
                    f"--storage.tsdb.path={tmp_path}/data",
                    f"--web.listen-address=127.0.0.1:{port}", stdout=log, stderr=log,
                )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}/api/v1/query"
            deadline = time.monotonic() + DEADLINE_S
            while True:
                try:
                    if await _ask(url, "shop_lat_bucket"):
                        break
                except (aiohttp.ClientError, ConnectionError):
                    pass
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                await asyncio.sleep(0.1)
            _, ours = await samples(base, ALL)
            # A scrape that took longer than its second on a busy machine has no samples.
            while not await _ask(url, f"max_over_time(scrape_samples_scraped[10m]) == {len(ours)}"):
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                await asyncio.sleep(0.1)
            wanted = {json.dumps({"__name__": s.name, **s.labels}, sort_keys=True): s.value for s in ours}
            while (named := await _named(url)) != pytest.approx(wanted):
                assert time.monotonic() < deadline, named
                await asyncio.sleep(0.1)
            while not (quantile := await _ask(url, "histogram_quantile(0.7, shop_lat_bucket)")):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            assert 0.2 < float(quantile[0]["value"][1]) < 0.6
        finally:
            process.kill()
            await process.wait()
