"""The two forms of a log line: text for a reader, and one JSON object for programs. Pure.

Lines of `Log` have an event and fields. Others are templates of the standard library's logging: of
`event=tokens_read path=%s` the words before a `=` are the names of fields.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

#: The attribute of a record that holds `(event, fields)`.
SAID: Final = "said"
_NAME: Final = re.compile(r"(?:^|(?<= ))(\w+)=")
_PLACEHOLDER: Final = re.compile(r"%(?:%|[-#0 +]*\d*(?:\.\d+)?[a-zA-Z])")
_MAX_INTEGER: Final = 2**63 - 1


class TextLogFormat(logging.Formatter):
    """Formats `<time> <level> <part> <message>`; a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(part)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        record.part = part_of(record.name)
        return super().format(record)


class JsonLogFormat(logging.Formatter):
    """Formats a record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        message, fields = said_by(record)
        shown: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": part_of(record.name),
            "message": _plain(message),
            "fields": {name: _plain(value) for name, value in fields.items()},
        }
        if (org := fields.get("org_id", fields.get("org"))) is not None:
            shown["org"] = _plain(org)
        if record.exc_info:
            shown["exception"] = _plain(self.formatException(record.exc_info))
        return msgspec.json.encode(shown).decode()


def part_of(logger: str) -> str:
    """Return the part that a logger belongs to, without the name of the product."""
    return logger.removeprefix("meterhouse.")


def said_by(record: logging.LogRecord) -> tuple[str, Mapping[str, object]]:
    """Return the event of a record and its fields; the whole message where it has none."""
    said: tuple[str, Mapping[str, object]] | None = getattr(record, SAID, None)
    if said is not None:
        return said
    args = record.args if isinstance(record.args, tuple) else ()
    if not isinstance(record.msg, str) or not _NAME.search(record.msg):
        return record.getMessage(), {}
    head, *pairs = _NAME.split(record.msg)
    try:
        event, args = _filled(head, args)
        fields: dict[str, object] = {}
        for name, template in zip(pairs[::2], pairs[1::2], strict=True):
            fields[name], args = _filled(template, args)
    except (TypeError, ValueError):  # no template of ours
        return record.getMessage(), {}
    return str(fields.pop("event", event)), fields


def _filled(template: str, args: tuple[object, ...]) -> tuple[object, tuple[object, ...]]:
    """Return a template with its arguments, and the arguments left; a placeholder alone keeps its type."""
    template = template.strip()
    found = [one for one in _PLACEHOLDER.findall(template) if one != "%%"]
    mine, rest = args[: len(found)], args[len(found) :]
    if found == [template] and isinstance(mine[0], int | float):
        return mine[0], rest
    return (template % mine if mine or "%%" in template else template), rest


def _plain(value: object) -> object:
    """Return a value that JSON can say: text without lone surrogates, numbers of 64 bits."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) <= _MAX_INTEGER:
        return int(value)
    return str(value).encode(errors="backslashreplace").decode()
