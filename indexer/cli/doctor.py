"""The subcommand `meterhouse doctor`: examines a ClickHouse; `--write` stores rows and removes them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Final

import redis

from agent.cli.common import config_option, read_settings, report_error
from agent.config.load import ConfigError
from indexer.cli.serve import IndexerFile
from indexer.clickhouse.dsn import parse_dsn
from indexer.clickhouse.store import StoreError, embedded_path, open_store
from indexer.diagnosis.agent_url import AGENT_URL, look_at_url
from indexer.diagnosis.check import CheckResult, DoctorCheck, Judgement, Surroundings, failed, passed, skipped
from indexer.diagnosis.cluster_checks import CLUSTER
from indexer.diagnosis.examination import Examined, examine
from indexer.diagnosis.right_checks import indexer_rights, shim_rights
from indexer.diagnosis.self_test import SelfTest
from indexer.diagnosis.server_checks import LONGEST, PROFILE, READS, SERVER, WRITES
from indexer.diagnosis.table_checks import TABLES
from indexer.intern.redis_client import open_redis
from indexer.settings import Settings, check_dsn

#: Is always there, so that checks can run before the database is made.
_SYSTEM: Final = "system"
_TIMEOUT_S: Final = 30
_WRITE_S: Final = 60
_REDIS_S: Final = 2.0
_REDIS: Final = DoctorCheck(
    "Redis",
    "",
    lambda _, __: skipped("not a statement"),
    "Check indexer.redis_url: without it each indexer looks strings up in ClickHouse.",
)


def doctor(argv: Sequence[str]) -> int:
    """Run `meterhouse doctor`: 0 if no check failed, 1 if one did, 2 if it could not run."""
    args = _parser().parse_args(argv)
    try:
        settings = read_settings(IndexerFile, args.config).indexer
        dsn = args.dsn or settings.dsn
        for given in (dsn, args.shim_dsn):
            if given:
                check_dsn(given)
        around = Surroundings(parse_dsn(dsn).database, args.cluster or settings.cluster)
        results = list(_all(settings, dsn, args.shim_dsn, around))
        if args.write:
            results += _written(dsn, around)
        if args.agent_url:
            results.append(Examined(AGENT_URL, look_at_url(args.agent_url)))
    except (ConfigError, StoreError, ValueError) as e:
        return report_error("doctor", e, 2)
    print(_json(results) if args.json else table(results))
    return int(any(one.judgement.result is CheckResult.FAILED for one in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterhouse doctor",
        description="Examines a ClickHouse: version, rights, profiles, tables, disks, and a"
        " cluster's nodes. Changes nothing without --write. Exit code 0: nothing is wrong; 1: a"
        " check failed; 2: it could not look.",
    )
    config_option(parser)
    parser.add_argument("--dsn", metavar="DSN", help="the indexer's (default: the setting indexer.dsn)")
    parser.add_argument("--shim-dsn", metavar="DSN", default="", help="the shim's, to check its user, too")
    parser.add_argument(
        "--agent-url",
        metavar="URL",
        default="",
        help="agent.forward.url, to see how many indexers it leads to",
    )
    parser.add_argument("--cluster", metavar="NAME", help="default: the setting indexer.cluster")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write rows of a reserved tenant twice into all tables, read them back, and remove them",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    return parser


def _all(settings: Settings, dsn: str, shim_dsn: str, around: Surroundings) -> Iterator[Examined]:
    """Yield all results. Raises StoreError."""
    rights = indexer_rights(around.database, cluster=around.cluster is not None)
    yield from _over(dsn, (*SERVER, WRITES, PROFILE, *rights, *TABLES, *CLUSTER), around)
    if shim_dsn:
        theirs = (READS, PROFILE, LONGEST, *shim_rights(parse_dsn(shim_dsn).database))
        yield from _over(shim_dsn, [replace(one, name=f"shim: {one.name}") for one in theirs], around)
    yield Examined(_REDIS, _redis(settings.redis_url))


def _written(dsn: str, around: Surroundings) -> Iterator[Examined]:
    """Yield the results of the self-test. Raises StoreError."""
    cluster = around.cluster
    opening = partial(open_store, dsn, pool=1, cluster=cluster, timeout_s=_WRITE_S)
    yield from SelfTest(dsn, cluster, opening).run()


def _over(dsn: str, checks: Sequence[DoctorCheck], around: Surroundings) -> Iterator[Examined]:
    """Yield the results of checks over a DSN. Raises StoreError."""
    data = embedded_path(dsn)
    if data is not None and not data.exists():
        raise StoreError(f"there is no data at {data}: expected that of an indexer", retryable=False)
    with closing(open_store(dsn, pool=1, timeout_s=_TIMEOUT_S, database=_SYSTEM)) as store:
        yield from examine(store, checks, replace(around, now_ms=time.time_ns() // 1_000_000))


def _redis(url: str) -> Judgement:
    if not url:
        return skipped("indexer.redis_url is empty")
    try:
        with closing(open_redis(url, _REDIS_S)) as client:
            client.ping()
    except (redis.RedisError, OSError) as e:
        return failed(f"does not answer ({type(e).__name__})")
    return passed("it answers")


def table(results: Sequence[Examined]) -> str:
    """Return the table of results, and the advice where a check failed."""
    width = max(len(one.check.name) for one in results)
    lines = [f"{r.judgement.result.value:7}  {r.check.name:{width}}  {r.judgement.reason}" for r in results]
    wrong = [one for one in results if one.judgement.result is CheckResult.FAILED]
    counts = ", ".join(
        f"{sum(r.judgement.result is h for r in results)} {h.value.lower()}" for h in CheckResult
    )
    lines += ["", counts]
    if wrong:
        lines += ["", "To do:", *(f"- {one.check.name}: {one.check.advice}" for one in wrong)]
    return "\n".join(lines)


def _json(results: Sequence[Examined]) -> str:
    found = [
        {
            "check": one.check.name,
            "result": one.judgement.result.value.lower(),
            "reason": one.judgement.reason,
            "advice": one.check.advice if one.judgement.result is CheckResult.FAILED else "",
        }
        for one in results
    ]
    return json.dumps({"checks": found}, indent=2, ensure_ascii=False)
