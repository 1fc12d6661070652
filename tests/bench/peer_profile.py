"""Where the time of one small query goes: HTTP, Python around the statement, the statement, its planning.

Times of the server itself come with `explain=1`; the cost in ClickHouse is measured afterwards, with
the same statement on the same data in a process of its own.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.clickhouse.store import open_store
from tests.bench.peer_servers import Query, Server


@dataclass(frozen=True, slots=True)
class Statement:
    """The one statement of a query."""

    sql: str

    def measure(self, path: Path, times: int) -> None:
        """Print its cost in ClickHouse: nothing at all, planning, all of it."""
        store = open_store(f"chdb://{path}", pool=1)
        # A repeated time is answered from ClickHouse's memory of its granules; a new one is not.
        fresh = f"{self.sql}, use_query_condition_cache = 0"
        explained = f"EXPLAIN PLAN {fresh}"
        try:
            nothing = _median_ms(lambda: store.fetch("SELECT toUInt8(1)", "u1"), times)
            planned = _median_ms(lambda: store.fetch(explained, "u1"), times)
            whole = _median_ms(lambda: store.fetch(fresh, "u1"), times)
        finally:
            store.close()
        print("\nIts statement alone, in a process of its own, medians\n")
        print("| what | ms |\n|---|---:|")
        print(f"| `SELECT 1`: the way into ClickHouse and back | {nothing:.2f} |")
        print(f"| `EXPLAIN PLAN` of the statement: the same, and planning | {planned:.2f} |")
        print(f"| the statement | {whole:.2f} |", flush=True)


def profile(server: Server, asked: Sequence[Query]) -> Statement:
    """Print the parts of a request, medians; return the last statement there was."""
    parts: dict[str, list[float]] = {"request": [], "HTTP": [], "plan": [], "evaluate": [], "read": []}
    sql = ""
    for query in asked:
        parts["HTTP"].append(server.ask("query", {"query": "1", "time": query.parameters["end"]})[0] * 1000)
        took_s, body = server.ask(query.path, {"query": query.text, **query.parameters, "explain": 1})
        explain = json.loads(body)["explain"]
        read = [*explain["statements"], *explain["from_memory"]]
        parts["request"].append(took_s * 1000)
        parts["plan"].append(explain["timings"]["prepared_ms"])
        parts["evaluate"].append(explain["timings"]["evaluated_ms"])
        parts["read"].append(sum(r["wall_ms"] for r in read))
        sql = read[0].get("sql", sql)
    of = {name: statistics.median(values) for name, values in parts.items()}
    rest = of["request"] - of["HTTP"] - of["plan"] - of["evaluate"]
    print(f"\nWhere its time goes in {server.name} (with explain=1), medians\n")
    print("| what | ms |\n|---|---:|")
    print(f"| a request without data (`1` at one time): HTTP, threads, JSON | {of['HTTP']:.2f} |")
    print(f"| parse and plan | {of['plan']:.2f} |")
    print(f"| cells: from memory, or the statement with clickhouse-connect | {of['read']:.2f} |")
    print(f"| Python around it: series, SQL text, windows | {of['evaluate'] - of['read']:.2f} |")
    print(f"| the rest: encoding, explain, noise | {rest:.2f} |")
    print(f"| all | {of['request']:.2f} |", flush=True)
    return Statement(sql)


def _median_ms(run: Callable[[], object], times: int) -> float:
    walls = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        walls.append((time.perf_counter() - start) * 1000)
    return statistics.median(walls)
