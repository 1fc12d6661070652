"""Log lines: event and key=value, and no floods."""

from __future__ import annotations

import logging

import pytest

from agent.runtime.logs import LOGGER, Log, line, set_up_all


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


def test_libraries_that_keep_silent_unless_asked_stay_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One like urllib3 warns of each attempt to connect, with the address."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(logging.getLogger("a_library"), "handlers", [logging.NullHandler()])
    set_up_all("text", "auto", logging.WARNING)
    for name in ("a_library.pool", "another_library.pool", "indexer.write"):
        logging.getLogger(name).warning("words of %s", name)
        logging.getLogger(name).info("words of no weight")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" WARNING ")[2] for line in lines] == [
        "another_library.pool words of another_library.pool", "indexer.write words of indexer.write"
    ]  # fmt: skip
