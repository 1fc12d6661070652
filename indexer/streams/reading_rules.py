"""The settings that decide about the messages of a batch, as they were when it was cut. Pure.

They are recorded with the batch, so a batch that is read again after a crash gives the same frames and the
same dead letters, whatever the settings are by then.
"""

from __future__ import annotations

import msgspec

from indexer.access.grants import Grant, Right, parse_tenant
from indexer.clickhouse.retention import Retention
from indexer.settings import Settings
from indexer.write.split_by_day import RetentionRules


class ReadingRules(msgspec.Struct, frozen=True):
    """The rules for the messages of a batch; the fields are named after the settings."""

    tenants: str
    future_s: int
    messages: int
    body_bytes: int
    retention: Retention
    retention_steps: tuple[int, ...]

    @property
    def grant(self) -> Grant:
        """Whose messages are stored."""
        return Grant(parse_tenant(self.tenants), frozenset({Right.WRITE}))

    @property
    def retentions(self) -> RetentionRules:
        """How long rows are kept."""
        return RetentionRules(self.retention, self.retention_steps)


def present_rules(settings: Settings, tenants: str) -> ReadingRules:
    """Return the rules of the settings for a stream whose messages may be of `tenants`."""
    return ReadingRules(
        tenants=tenants,
        future_s=settings.bounds.future_s,
        messages=settings.bounds.messages,
        body_bytes=settings.bounds.body_bytes,
        retention=settings.retention,
        retention_steps=tuple(settings.limits.retention_steps),
    )


def encoded(rules: ReadingRules) -> str:
    """Return the rules as JSON without blanks."""
    return msgspec.json.encode(rules).decode()


def decoded(text: bytes | str) -> ReadingRules | None:
    """Return recorded rules; None if the text has none that this version knows."""
    try:
        return msgspec.json.decode(text, type=ReadingRules)
    except (msgspec.DecodeError, ValueError):
        return None
