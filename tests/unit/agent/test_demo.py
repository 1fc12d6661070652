"""The demo's truth equals its lines, when they are read again by hand."""

from __future__ import annotations

import math
import re
from collections import defaultdict

from agent.cli.demo_traffic import PACKET_BYTES, Shop, packets, quantile

LINE = re.compile(r"(?P<name>[\w.]+):(?P<value>[^|]+)\|(?P<type>[cgds])\|#(?P<tags>[^|]+)\|T(?P<at>\d+)")
BEGIN = 1_700_000_003.0


def _run(seconds: int, seed: int = 1) -> tuple[Shop, list[str]]:
    shop = Shop(seed, requests_per_second=100)
    lines = [line for i in range(seconds * 10) for line in shop.tick(BEGIN + i / 10)]
    return shop, lines


def test_truth_counts_what_the_lines_say() -> None:
    shop, lines = _run(25)
    truth = shop.truth()
    counters: dict[str, float] = defaultdict(float)
    distributions: dict[str, list[float]] = defaultdict(list)
    members: dict[str, set[str]] = defaultdict(set)
    gauges: dict[str, tuple[float, int]] = {}
    for line in lines:
        m = LINE.fullmatch(line)
        assert m, line
        assert truth.start <= int(m["at"]) < truth.end
        key = f"{m['name']}#{m['tags']}"
        match m["type"]:
            case "c":
                counters[key] += float(m["value"])
            case "d":
                distributions[key].append(float(m["value"]))
            case "s":
                members[key].add(m["value"])
            case _:
                gauges[key] = (float(m["value"]), int(m["at"]))
    assert truth.lines == len(lines)
    assert {_key(c.name, c.labels): c.total for c in truth.counters} == counters
    assert {_key(g.name, g.labels): (g.last, g.at) for g in truth.gauges} == gauges
    for s in truth.sets:
        expected = members[_key(s.name, s.labels)] if s.labels else set().union(*members.values())
        assert s.distinct == len(expected)
    for d in truth.distributions:
        values = sorted(
            distributions[_key(d.name, d.labels)]
            if d.labels
            else [v for vs in distributions.values() for v in vs]
        )
        assert (d.count, d.min, d.max) == (len(values), values[0], values[-1])
        assert math.isclose(d.sum, math.fsum(values))
        assert (d.p50, d.p99) == (quantile(values, 0.5), quantile(values, 0.99))


def _key(name: str, labels: dict[str, str]) -> str:
    return f"{name}#{','.join(f'{k}:{v}' for k, v in labels.items())}"


def test_window_is_whole_buckets() -> None:
    truth = _run(25)[0].truth()
    assert (truth.start, truth.end) == (1_700_000_000, 1_700_000_030)


def test_a_seed_says_all() -> None:
    assert _run(3, seed=7)[1] == _run(3, seed=7)[1]
    assert _run(3, seed=7)[1] != _run(3, seed=8)[1]


def test_packets_hold_whole_lines_within_the_limit() -> None:
    _, lines = _run(5)
    sent = list(packets(lines))
    assert b"\n".join(sent).decode().split("\n") == lines
    assert all(len(p) <= PACKET_BYTES for p in sent)
    assert list(packets(["x" * 2_000, "y"])) == [b"x" * 2_000, b"y"]
    assert list(packets([])) == []


def test_quantile() -> None:
    assert quantile([1, 2, 3, 4], 0.5) == 2.5
    assert quantile([1, 2, 3, 4], 1) == 4
    assert quantile([5], 0.99) == 5
    assert quantile(list(range(1, 102)), 0.99) == 100
