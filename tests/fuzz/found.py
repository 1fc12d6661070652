"""Inputs that were faults once, by decoder. Each run begins with them."""

# ruff: noqa: E501 (lists of short texts, many to a line)

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FOUND: Final[Mapping[str, tuple[bytes, ...]]] = {
    # Nested deeper than the decoder's recursion goes: RecursionError, 500.
    "heartbeat": (b'{"agent":"a","epoch":1,"more":' + b"[" * 1_500,),
    "metadata": (b"[" * 5_000, b'{"org_id":1,"project_id":1,"metrics":' + b"[" * 1_500),
    "frame_inside": (b"\x91" * 3_000, b"\xdc\x00\x20\x01" + b"\x91" * 3_000),
    "hints": (b'{"a":' * 1_500,),
    "settings": (b"agent." + b"a." * 1_000 + b"a = 1", b'tokens = "http://["', b'[indexer]\ndsn = "http://["'),
    "environment": (b"METERHOUSE_AGENT" + b"__A" * 1_000 + b"=1",),
    # PyYAML: a character beyond Unicode is a ValueError; time grows with the square of the depth.
    "mapping": (b'"\\U00110000"', b"%YAML 1." + b"9" * 5_000 + b"\n---\na: 1", b"[" * 1_500, b"- " * 1_500, b"? " * 1_500),
    "dsn": (b"http://[", b"http://user:secret@h[ost:8123/db", b"https://[8:1]:8443"),
    "tokens": (b"x 1:1 write expires=0001-01-01T00:00+14:00", b"x 1:1 write expires=9999-12-31T23:59-14:00"),
    # A number beyond floats in one message failed all of its request.
    "messages": (b'[{"org_id":1,"project_id":1,"name":"up","type":"c","value":1,"timestamp":1' + b"0" * 400 + b"}]",),
    # Time grew with the square of the digits, in the event loop.
    "form": (b"time=" + b"9" * 40_000 + b"x", b"start=1&end=2&step=" + b"1" * 40_000 + b"e"),
}  # fmt: skip
