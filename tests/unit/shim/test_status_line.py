"""The status line of `meterhouse up`: its parts, and that it fits any width."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.status import Status
from shim.allinone.inside import reachable
from shim.allinone.status_line import Scraped, StatusNumbers, fitted, parts, queries_of, scrape, size_of
from shim.metrics import ShimMetrics

AGENT = Scraped(lines=900.0, unsent_bytes=2e6, dropped_packets=1200.0, refused=900.0, refused_for="bad_value")
BUSY = StatusNumbers(12_345.0, 2.5, AGENT, Status(1_234_567, 36, 995.0), 123_456_789)
WHOLE = (
    "12,345 lines/s | 36 series | 1,234,567 rows written | last flush 5 s ago | 900 lines refused (bad_value)"
    " | 2.0 MB unsent | 2.5 queries/s | disk 123.5 MB | the kernel dropped 1,200 packets: sysctl x"
)


def test_all_parts_where_there_is_room() -> None:
    assert fitted(parts(BUSY, 1_000.0, "sysctl x"), len(WHOLE)) == WHOLE


@pytest.mark.parametrize("width", [*range(20, 210, 7), 50])
def test_it_fits_any_width(width: int) -> None:
    shown = fitted(parts(BUSY, 1_000.0, "sysctl x"), width)
    assert len(shown) <= width
    assert "\n" not in shown
    if width >= 110:
        assert "900 lines refused (bad_value)" in shown  # problems stay
        assert "the kernel dropped" in shown


def test_an_idle_product_in_50_columns() -> None:
    idle = StatusNumbers(0.0, 0.0, Scraped(), Status(0, 0, 0.0), 0)
    assert fitted(parts(idle, 0.0), 50) == "0 lines/s | 0 series | last flush not yet"


def test_refused_lines_have_the_reason_of_the_most() -> None:
    said = "".join(
        f'meterhouse_agent_bad_lines_total{{reason="{reason}"}} {count}\n'
        for reason, count in (("no_type", 3), ("bad_value", 897), ("cut_off", 0))
    )
    assert scrape(f"{said}meterhouse_agent_lines_total 1000\n") == Scraped(
        1000.0, 0.0, 0.0, 900.0, "bad_value"
    )


def test_queries_are_counted_among_requests() -> None:
    metrics = ShimMetrics()
    for endpoint, count in (("query", 2), ("query_range", 3), ("labels", 7)):
        metrics.requests.labels(endpoint, "200").inc(count)
    assert queries_of(metrics.requests) == 5


def test_the_size_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x" * 10)
    (tmp_path / "c").write_bytes(b"x" * 5)
    assert size_of(tmp_path) == 15
    assert size_of(tmp_path / "nowhere") == 0


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("0.0.0.0:8125", "127.0.0.1:8125"),
        ("http://0.0.0.0:9090", "http://127.0.0.1:9090"),
        ("https://[::]:9090", "https://127.0.0.1:9090"),
        ("10.0.0.0:1", "10.0.0.0:1"),
        ("[::1]:8125", "[::1]:8125"),
    ],
)
def test_printed_addresses_can_be_reached(address: str, shown: str) -> None:
    assert reachable(address) == shown
