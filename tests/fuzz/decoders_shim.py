"""Decoders of the shim, and the settings of all parts: PromQL, forms, tenants, settings, environment, hints."""

# ruff: noqa: E501 (lists of short texts, many to a line)

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from multidict import CIMultiDict

from agent.config.load import ConfigError, load
from agent.config.secrets import masked, secrets_in
from shim.catalog.types import Days, SelectionKey
from shim.cli.serve import File
from shim.engine import warm_state
from shim.http import params as forms
from shim.http.request import matcher_sets
from shim.http.responses import accepts_gzip
from shim.model.errors import QueryError
from shim.model.grid import Grid
from shim.model.matchers import Matcher
from shim.model.tenancy import TenancySettings, Tenant, TenantResolver
from shim.mql.mql_lower import MqlContext, to_snql
from shim.mql.mql_parser import parse_mql
from shim.plan.build import build
from shim.plan.nodes import PlanContext
from shim.plan.parse import parse
from shim.plan.rules import apply
from shim.plan.text import render
from shim.promql.ast_json import ast_json
from shim.promql.modifiers import DurationContext
from shim.promql.printer import format_query
from shim.read.cell_cache.chunk import ChunkKey, Source
from shim.snql.grammar import KEYWORDS as SNQL_WORDS
from shim.snql.lower import Asked, lower
from shim.snql.parser import parse_snql
from shim.snql.unparse import unparse_query
from tests.corpus.snql_texts import MQL, texts
from tests.fuzz.harness import Decoder
from tests.support.hostile_texts import DURATIONS, NUMBERS, TOKENS, text
from tests.support.http_texts import NAMES, TEXTS

_ROOT: Final = Path(__file__).parents[2]
_NOW_MS: Final = 1_790_000_000_000
_TOML: Final = b"""[agent]
udp = "[::1]:8125"
tags = { pod = "web-1" }
lines.name_tags = ["influx"]
[indexer]
tokens = { secret = "1:* write expires=2027-01-31" }
redis_url = "redis://:password@host:6379/0"
[shim.tenancy]
mode = "token"
tokens = { secret = "1:1" }
"""
_TOML_WORDS: Final = (
    *(b"[agent]\n", b"[[a]]\n", b"a.b.c = 1\n", b" = ", b"\"\"\"", b"inf", b"nan", b"1979-05-27T07:32:00Z", b"0x", b"a." * 800),
    *(b"expires=0001-01-01T00:00+14:00", b"udp", b"tcp", b"{}", b"= {a = ", b"host:99999", b"redis://[", b"chdb://", b"http://["),
)  # fmt: skip
_ENVIRONMENT: Final = (
    b'METERHOUSE_AGENT__FLUSH__DELAY_MS=500\0METERHOUSE_AGENT__TAGS={"a":"b"}',
    b'METERHOUSE_INDEXER__TOKENS=["x"]\0METERHOUSE_SHIM__TENANCY__MODE=token\0METERHOUSE_SHIM__LISTEN=:9090',
    b"METERHOUSE_AGENT=1\0METERHOUSE_AGENT__UDP=\0METERHOUSE_INDEXER__LIMITS__RETENTION_STEPS=[1,2]\0PATH=/bin",
)
_ENVIRONMENT_WORDS: Final = (
    b"METERHOUSE_",
    b"__" * 900,
    b"\0METERHOUSE_AGENT__",
    b"=",
    b"[1,",
    b'{"a":',
    b"-Infinity",
)
_TENANTS: Final = (b"1:2\x001\x002", b"1:*\0\0", b"\0\xd9\xa3\x001")


def decoders(folder: Path) -> Iterator[Decoder]:
    """All of them; `folder` is for files."""
    queries = [text("fuzz", i).encode(errors="surrogatepass") for i in range(300)]
    words = [w.encode() for w in (*TOKENS, *NUMBERS, *DURATIONS)]
    short = [query for query in queries if len(query) < 2_000]
    yield Decoder("promql", _promql, (QueryError,), short, words, cost=4)
    snql = [one.encode() for one in (*texts().valid, *(case.text for case in texts().invalid))]
    yield Decoder("snql", _snql, (QueryError,), snql, [word.encode() for word in SNQL_WORDS], cost=4)
    mql = [one.encode() for one in (*texts(MQL).valid, *(case.text for case in texts(MQL).invalid))]
    yield Decoder("mql", _mql, (QueryError,), mql, (b"{", b"}", b" by ", b":", b"!", b"*", b"AND"), cost=4)
    yield Decoder("form", _form, (QueryError,), _forms(), (*NAMES, *TEXTS, b"&", b"="), cost=4)
    yield Decoder("tenant", _tenant, (QueryError,), _TENANTS, (b":", b"*", b"4294967296"))
    example = (_ROOT / "deploy" / "meterhouse.toml").read_bytes()
    yield Decoder("settings", _settings, (ConfigError,), [_TOML, example], _TOML_WORDS, cost=8)
    yield Decoder("environment", _environment, (ConfigError,), _ENVIRONMENT, _ENVIRONMENT_WORDS, cost=4)
    yield Decoder("hints", _hints(folder), (), [_hint(folder)], cost=4)


def _promql(data: bytes) -> None:
    """Prepare a query as before the store is asked; bytes that are not UTF-8 as in a form."""
    query = data.decode(errors="replace")
    grid = Grid(_NOW_MS - 600_000, _NOW_MS, 60_000)
    node = parse(query, DurationContext(grid.step_ms, grid.end_ms - grid.start_ms))
    format_query(node)
    json.dumps(ast_json(node))
    render(apply(build(node, PlanContext(grid, 300_000, experimental=True))))


def _snql(data: bytes) -> None:
    """Parse and lower; a query that is written again means the same."""
    text = data.decode(errors="replace")
    query = parse_snql(text)
    assert parse_snql(unparse_query(query)) == query
    lower(text, query, Asked(Tenant(1, 1), _NOW_MS // 1000)).lines()


def _mql(data: bytes) -> None:
    text = data.decode(errors="replace")
    query = to_snql(text, parse_mql(text), MqlContext(interval_s=60, totals=True))
    lower(text, query, Asked(Tenant(1, 1), _NOW_MS // 1000)).lines()


def _forms() -> list[bytes]:
    ranged = b"query=up&start=1790000000&end=2026-11-28T00:00:00Z&step=15s&timeout=5s&lookback_delta=1m"
    return [
        ranged,
        b"match[]=up%7Ba%3D%22b%22%7D&match[]=%7B__name__%3D~%22a%7Cb%22%7D&start=1&end=2&limit=10",
        b"query=rate(up%5B5m%5D)&time=1.5e9&granularity=60&histograms=classic&counter_lookback=1h&U__a_2e_b=1",
    ]


def _form(data: bytes) -> None:
    """Every parameter of every endpoint; the first error is raised when all were read."""
    values: dict[str, list[str]] = {}
    for name, value in forms.fields(data):
        values.setdefault(name, []).append(value)
        forms.unescape_label_name(name)
        accepts_gzip(value)
    given = forms.Params(values)
    first: QueryError | None = None
    for read in _READS:
        try:
            read(given)
        except QueryError as e:
            first = first or e
    if first:
        raise first


_READS: Final[tuple[Callable[[forms.Params], object], ...]] = (
    lambda given: forms.time_ms(given, "time", _NOW_MS),
    lambda given: forms.limit(given),
    lambda given: forms.grid(given, 11_000),
    lambda given: forms.timeout_s(given, 120.0),
    forms.lookback_ms,
    forms.counter_lookback_ms,
    forms.granularity_s,
    forms.classic,
    lambda given: forms.flag(given, "explain"),
    matcher_sets,
)


def _tenant(data: bytes) -> None:
    names = ("X-Scope-OrgID", "X-Org-Id", "X-Project-Id")
    headers: CIMultiDict[str] = CIMultiDict()
    for number, value in enumerate(data.split(b"\0")):
        if value:
            headers.add(names[number % 3], value.decode(errors="surrogateescape"))
    TenantResolver(TenancySettings(mode="header")).tenant(headers)


def _settings(data: bytes) -> None:
    """As `check-config` reads and shows a file."""
    try:
        toml = data.decode()
    except UnicodeDecodeError:
        toml = data.decode("latin-1")
    shown = msgspec.to_builtins(load(File, toml))
    masked(shown)
    secrets_in(shown)


def _environment(data: bytes) -> None:
    pairs = [part.partition(b"=") for part in data.split(b"\0")]
    load(File, environ={os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs})


def _hint(folder: Path) -> bytes:
    source = Source(1, None, (2**63 - 1, 7), "counters", "value")
    matchers = (Matcher("__name__", "=", "hits"), Matcher("host", "!~", 'a"\n|é'))
    looks = (
        SelectionKey(Tenant(1, 1), matchers, Days(1, 2)),
        SelectionKey(Tenant(2, None), (), Days(0, 65_535)),
    )
    path = folder / "hints.json"
    warm_state.save(path, warm_state.WarmState((ChunkKey(source, 60, 21_600),), looks))
    return path.read_bytes()


def _hints(folder: Path) -> Callable[[bytes], object]:
    path = folder / "fuzzed.json"

    def take(data: bytes) -> None:
        path.write_bytes(data)
        warm_state.save(folder / "again.json", warm_state.load(path))

    return take
