"""The two forms of a log line."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from agent.runtime.log_formats import SAID, JsonLogFormat, TextLogFormat


def record(message: object, *args: object, name: str = "shim.x", **more: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, "f.py", 1, message, args, more.pop("exc_info", None))
    made.created, made.msecs = 1_764_374_400.25, 250.0
    made.__dict__ |= more
    return made


def as_json(made: logging.LogRecord) -> Any:
    line = JsonLogFormat().format(made)
    assert "\n" not in line
    return json.loads(line)


@pytest.mark.parametrize(
    ("message", "args", "event", "fields"),
    [
        ("plain words", (), "plain words", {}),
        ("100% of nothing", (), "100% of nothing", {}),
        ("request failed endpoint=%s", ("q",), "request failed", {"endpoint": "q"}),
        ("event=lost count=%d after_s=%.1f", (3, 0.5), "lost", {"count": 3, "after_s": 0.5}),
        ("event=%s_problem text=%s", ("disk", "a b=c\nd"), "disk_problem", {"text": "a b=c\nd"}),
        (
            "event=x error=%s hint=chmod 600, or hash",
            ("e",),
            "x",
            {"error": "e", "hint": "chmod 600, or hash"},
        ),
        ("event=x share=%d%% of=%s", (5, "y"), "x", {"share": "5%", "of": "y"}),
        ("event=x id=%d", (2**70,), "x", {"id": str(2**70)}),
        ("event=x path=%s", ("\udcff",), "x", {"path": "\\udcff"}),
        ("event=x seconds=%s", (float("nan"),), "x", {"seconds": None}),
    ],
)
def test_fields_of_a_template(message: str, args: tuple[object, ...], event: str, fields: Any) -> None:
    shown = as_json(record(message, *args))
    assert (shown["message"], shown["fields"]) == (event, fields)


def test_an_object_has_time_level_part_and_org() -> None:
    said = ("refused", {"org_id": 7, "why": "x"})
    assert as_json(record("refused org_id=7", name="meterhouse.agent", **{SAID: said})) == {
        "time": "2025-11-29T00:00:00.250Z",
        "level": "warning",
        "logger": "agent",
        "message": "refused",
        "fields": {"org_id": 7, "why": "x"},
        "org": 7,
    }


def test_an_exception_is_a_field_of_one_line() -> None:
    try:
        raise OSError("no\nroom")
    except OSError:
        shown = as_json(record("event=failed", exc_info=sys.exc_info()))
    assert shown["exception"].endswith("OSError: no\nroom")
    assert shown["exception"].startswith("Traceback")


def test_text_has_time_level_and_part() -> None:
    line = TextLogFormat().format(record("event=lost count=%d", 3, name="meterhouse.agent"))
    assert line.endswith(",250 WARNING agent event=lost count=3")


def test_arguments_that_do_not_fit_are_the_library_s_problem() -> None:
    with pytest.raises(TypeError):
        JsonLogFormat().format(record("event=lost count=%d", "three"))
