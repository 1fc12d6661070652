"""How long a busy socket is left alone (agent/core/_native/nap.pxi)."""

from __future__ import annotations

from typing import Final

import pytest

from agent.core._native.core import longest_nap_ns, next_nap_ns

MS: Final = 1_000_000
#: Of a receive buffer of 8 MiB, which the kernel doubles.
CAPACITY: Final = 20_164


@pytest.mark.parametrize(
    ("nap_ms", "capacity", "longest_ns"),
    [
        (10, CAPACITY, 10 * MS),
        (20, CAPACITY, 10_082_000),  # half of the time in which a packet a microsecond fills it
        (10, 256, 128_000),  # the default buffer
        (10, 10, 5_000),  # a Unix socket's queue: too short for any nap
        (10, 0, 0),
        (0, CAPACITY, 0),
    ],
)
def test_the_longest_nap(nap_ms: int, capacity: int, longest_ns: int) -> None:
    assert longest_nap_ns(nap_ms, capacity) == longest_ns


@pytest.mark.parametrize(
    ("longest_ns", "since_ns", "fill", "packets", "nap_ns"),
    [
        (10 * MS, 10 * MS, 0.0, 1, 10 * MS),  # hardly anything came
        (10 * MS, 10 * MS, 0.0, 255, 10 * MS),
        (10 * MS, 10 * MS, 0.0, 256, 10 * MS),
        (10 * MS, 10 * MS, 0.0, 512, 5 * MS),  # 256 packets come in half of that
        (10 * MS, 2 * MS, 0.0, 64, 8 * MS),
        (10 * MS, 2 * MS, 0.0, 1, 10 * MS),  # a rate that fell: the longest at once
        (10 * MS, 10 * MS, 0.25, 64, 5 * MS),  # large packets: an eighth of the buffer in half of that
        (10 * MS, 10 * MS, 1.0, 20_000, 128_000),
        (10 * MS, 1 * MS, 1.0, 64, 125_000),  # the buffer is full
        (10 * MS, 4 * MS, 1.0, 20_000, 51_200),
        (10 * MS, 4 * MS, 1.0, 21_000, 0),  # not worth a system call
        (50_000, MS, 0.0, 1, 50_000),
        (49_999, MS, 0.0, 1, 0),
        (0, MS, 0.0, 1, 0),
        (10 * MS, 0, 0.5, 64, 0),  # no time since the last read
        (10 * MS, 2**62, 0.0, 1, 10 * MS),
    ],
)
def test_a_nap(longest_ns: int, since_ns: int, fill: float, packets: int, nap_ns: int) -> None:
    assert next_nap_ns(longest_ns, since_ns, fill, packets) == nap_ns


def naps(packets_per_ms: list[int], capacity: int = CAPACITY) -> list[tuple[int, float]]:
    """Naps under a rate that changes with each read (of 20 us), and how full the buffer was after each."""
    longest_ns = since_ns = longest_nap_ns(10, capacity)
    out = []
    for rate in packets_per_ms:
        waiting = max(rate * since_ns // MS, 1)
        nap_ns = next_nap_ns(longest_ns, since_ns, waiting / capacity, waiting)
        since_ns = nap_ns + 20_000
        out.append((nap_ns, rate * since_ns / MS / capacity))
    return out


@pytest.mark.parametrize("rate", [1, 10, 25, 26, 100, 500, 1_000, 5_000])
@pytest.mark.parametrize("capacity", [256, 2_000, CAPACITY])
def test_a_steady_rate_never_fills_an_eighth(rate: int, capacity: int) -> None:
    longest_ns = longest_nap_ns(10, capacity)
    nap_ns, fill = naps([rate] * 10, capacity)[-1]
    wanted_ns = min(longest_ns, 256 * MS // rate, capacity * MS // (8 * rate))
    assert nap_ns == pytest.approx(wanted_ns if wanted_ns >= 50_000 else 0, rel=0.01)
    assert fill <= 1.01 * (1 / 8 + rate * 20_000 / MS / capacity)  # a read takes its time, too


def test_a_nap_follows_the_rate() -> None:
    made = [nap_ns for nap_ns, _ in naps([10] * 3 + [1_000] * 3 + [10] * 3)]
    assert made[:3] == [10 * MS] * 3
    assert made[3:6] == pytest.approx([256_000] * 3, rel=0.01)
    assert made[6:] == [10 * MS] * 3


def test_the_fastest_sender_comes_without_warning() -> None:
    """A packet a microsecond after a silence: the nap before it was the longest, and the buffer holds it."""
    made = naps([1, 1_000, 1_000])
    assert max(fill for _, fill in made) < 0.6
