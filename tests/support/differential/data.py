"""The samples that both servers hold: gauges on the 10 s grid, the same in every run.

Values are binary fractions, so sums are exact in any order and no difference is one of rounding alone. Those
of `temp` and `mem` are never equal, so that topk and sort have one right answer; `load` has many ties.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

#: The last sample's time: a fixed hour, so that queries mean the same in every run.
END_S: Final = 1_790_000_000 // 3_600 * 3_600
SPAN_S: Final = 2 * 3_600
LES: Final = ("0.1", "0.5", "1", "2.5", "+Inf")

Point = tuple[int, float]  # seconds, value


@dataclass(frozen=True, slots=True)
class Stored:
    """One series, its labels without the name."""

    name: str
    labels: tuple[tuple[str, str], ...]
    points: Sequence[Point]

    def lines(self) -> Iterator[str]:
        tags = ",".join(f"{k}:{v}" for k, v in self.labels)
        for t, v in self.points:
            yield f"{self.name}:{v!r}|g|#{tags}|T{t}"


def series() -> list[Stored]:
    """In the order of their labels: the order in which the reference meets them."""
    rng = random.Random("differential")
    times = range(END_S - SPAN_S, END_S + 1, 10)
    out: list[Stored] = []

    def add(name: str, points: Iterator[Point], **labels: str) -> None:
        out.append(Stored(name, tuple(sorted(labels.items())), [*points]))

    for i in range(5):
        for route in "ab":
            zone = {"zone": "xy"[i % 2]} if i < 4 else {}
            own = 2.0 ** -(7 + len(out))  # tells its values from those of the others
            add("temp", _walk(rng, times, 20.0 + own), host=f"h{i}", route=route, **zone)
            add("load", ((t, float(rng.randrange(-2, 5))) for t in times), host=f"h{i}", route=route)
        add(
            "mem",
            _gaps(rng, _walk(rng, times, 4_000.0 + 2.0 ** -(7 + i))),
            host=f"h{i}",
            team="blue" if i < 3 else "red",
        )
        add("build", ((t, 1.0) for t in times), host=f"h{i}", version=f"1.{i % 3}.0")
        for mode in ("user", "idle"):
            add(f"cpu_{mode}_total", _total(rng, times), host=f"h{i}", mode=mode)
    for host, every_s in (("h0", 60), ("h1", 290), ("h2", 420)):
        add("sparse", ((t, rng.randrange(640) / 64) for t in times if t % every_s == 0), host=host)
    add("gone", ((t, float(t % 70)) for t in times if t < END_S - 2_400), host="h1", route="a")
    add("late", ((t, float(t % 90)) for t in times if t > END_S - 1_500), host="h2", route="b")
    for route in "abc":
        _histogram(rng, add, times, route)
    return sorted(out, key=lambda s: (s.name, s.labels))


def _walk(rng: random.Random, times: range, base: float) -> Iterator[Point]:
    value = base + rng.randrange(640) / 64
    for t in times:
        value += rng.randrange(-64, 65) / 64
        yield t, value


def _gaps(rng: random.Random, points: Iterator[Point]) -> Iterator[Point]:
    """Without a few stretches of up to 12 minutes."""
    silent_until = 0
    for t, v in points:
        if t >= silent_until and rng.random() < 0.01:
            silent_until = t + rng.choice((20, 60, 310, 720))
        if t >= silent_until:
            yield t, v


def _total(rng: random.Random, times: range) -> Iterator[Point]:
    """Yield a cumulative value that starts again now and then."""
    value = rng.randrange(6_400) / 64
    for t in times:
        value = 0.0 if rng.random() < 0.005 else value + rng.randrange(1, 320) / 64
        yield t, value


def _histogram(rng: random.Random, add: object, times: range, route: str) -> None:
    """Classic buckets, cumulative in time and in `le`, with `_count` and `_sum`."""
    assert callable(add)
    rows: dict[str, list[Point]] = {le: [] for le in LES}
    sums: list[Point] = []
    totals = dict.fromkeys(LES, 0.0)
    total = 0.0
    for t in times:
        new = sorted(rng.randrange(0, 20) for _ in LES)
        for le, n in zip(LES, new, strict=True):
            totals[le] += n
            rows[le].append((t, totals[le]))
        total += rng.randrange(1, 640) / 64
        sums.append((t, total))
    for le in LES:
        add("lat_bucket", iter(rows[le]), route=route, le=le)
    add("lat_count", iter(rows["+Inf"]), route=route)
    add("lat_sum", iter(sums), route=route)
