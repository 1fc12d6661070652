"""`host:port` as settings and options write it."""

from __future__ import annotations

import pytest

from agent.config.host_port import parse_host_port


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8125", ("127.0.0.1", 8125)),
        (":80", ("", 80)),
        ("[::1]:0", ("::1", 0)),
        ("a.b:65535", ("a.b", 65_535)),
        ("a:0000080", ("a", 80)),
    ],
)
def test_parsed(text: str, expected: tuple[str, int]) -> None:
    assert parse_host_port(text) == expected


@pytest.mark.parametrize(
    "text", ["", "localhost", "a:", "a:-1", "a:65536", "a:٣", "a:1x", "a:00000812599", "a:" + "9" * 10_000]
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        parse_host_port(text)


def test_a_port_below_the_least_accepted_one_is_refused() -> None:
    assert parse_host_port("a:1", min_port=1) == ("a", 1)
    with pytest.raises(ValueError, match="expected host:port"):
        parse_host_port("a:0", min_port=1)
