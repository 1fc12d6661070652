"""The format of an answer, by the headers of real readers."""

from __future__ import annotations

import pytest

from agent.exposition.accepted_format import accepted_format, takes_gzip

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
OF_2_42 = (
    f"{PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,"
    "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
OF_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "format_", "utf8"),
    [
        ("", "text", False),
        ("*/*", "text", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text", False),
        ("application/json", "text", False),
        # Prometheus 2.42
        (OF_2_42.removeprefix(f"{PROTOBUF},").replace("1.0.0;q=0.8", "1.0.0"), "openmetrics", False),
        # Prometheus 2.42 with native histograms
        (OF_2_42, "protobuf", False),
        # Prometheus 3
        (OF_3, "openmetrics", True),
        (f"{PROTOBUF};escaping=allow-utf-8;q=0.6,text/plain;q=0.3", "protobuf", True),
        ("text/plain;version=1.0.0;escaping=allow-utf-8", "text", True),
        ("text/plain;version=1.0.0;escaping=underscores", "text", False),
        ("text/plain;version=0.0.4;escaping=allow-utf-8", "text", False),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", "text", False),
        ("application/vnd.google.protobuf", "text", False),
        (f"{PROTOBUF};q=0,text/plain;q=0.1", "text", False),
        (f"{PROTOBUF};q=x,application/openmetrics-text", "openmetrics", False),
        (",;,=;q", "text", False),
    ],
)  # fmt: skip
def test_the_preferred_known_format(accept: str, format_: str, utf8: bool) -> None:
    found = accepted_format(accept)
    assert (found.format, found.utf8) == (format_, utf8)
    assert ("allow-utf-8" in found.content_type) == utf8


def test_versions_are_answered() -> None:
    assert "version=0.0.1" in accepted_format("application/openmetrics-text; version=0.0.1").content_type
    assert "version=1.0.0" in accepted_format("application/openmetrics-text").content_type
    assert "version=0.0.4" in accepted_format("text/plain").content_type


@pytest.mark.parametrize(
    ("header", "takes"),
    [("", False), ("gzip", True), ("deflate, gzip;q=0.5", True), ("gzip;q=0", False), ("identity", False)],
)
def test_gzip(header: str, takes: bool) -> None:
    assert takes_gzip(header) is takes
