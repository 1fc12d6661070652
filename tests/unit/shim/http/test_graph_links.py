"""Links of Prometheus' old page, as they are in alerts."""

from __future__ import annotations

import pytest

from shim.http.graph_links import page_address


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, ""),
        ({"g0.expr": 'x{a="&b"} > 1', "g0.tab": "1"}, "?q=x%7Ba%3D%22%26b%22%7D+%3E+1&show=table"),
        ({"g0.expr": "a", "g1.expr": "b", "g0.tab": "0"}, "?q=a&q=b"),
        (
            {"g0.expr": "a", "g0.range_input": "2h", "g0.end_input": "2026-11-28 10:00"},
            "?q=a&range=7200&end=1795860000",
        ),
        (
            {"g0.expr": "a\r\nLocation: b", "g0.range_input": "x", "g0.end_input": "y"},
            "?q=a%0D%0ALocation%3A+b",
        ),
    ],
)
def test_a_link_leads_to_the_query(given: dict[str, str], address: str) -> None:
    assert page_address(given) == address
