"""Log lines: event and key=value, and no floods."""

from __future__ import annotations

import logging

import pytest

from agent.runtime.logs import LOGGER, Log, line


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "event"),
        ({"a": 1, "b": "x"}, "event a=1 b=x"),
        ({"a": 0.123456789, "b": None}, "event a=0.123457 b=None"),
        ({"a": "two words", "b": ""}, "event a='two words' b=''"),
        ({"a": "line\nbreak", "b": "k=v"}, "event a='line\\nbreak' b='k=v'"),
    ],
)
def test_line(fields: dict[str, object], text: str) -> None:
    assert line("event", fields) == text


def test_throttled(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()
    with caplog.at_level(logging.INFO, LOGGER):
        for i in range(100):
            log.throttled("flood", i=i)
            log.throttled("other", i=i)
    assert [r.getMessage() for r in caplog.records] == ["flood i=0", "other i=0"]
