"""Compression's header."""

from __future__ import annotations

import gzip as reference

import pytest

from shim.http.responses import accepts_gzip, gzip


@pytest.mark.parametrize("header", ["gzip", "deflate, gzip;q=0.5", "GZIP", "*", "br, gzip; q=1"])
def test_accepted(header: str) -> None:
    assert accepts_gzip(header)


@pytest.mark.parametrize("header", ["", "identity", "gzip;q=0", "gzip; q=0.000", "xgzip"])
def test_not_accepted(header: str) -> None:
    assert not accepts_gzip(header)


def test_what_is_compressed_reads_back() -> None:
    assert reference.decompress(gzip(b"abc" * 1000)) == b"abc" * 1000
