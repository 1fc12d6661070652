"""Checks of the server itself: version, settings of the user's profile, limits, clock, disks. Pure."""

from __future__ import annotations

from typing import Final

from indexer.clickhouse.expected_settings import NO_SETTINGS, unexpected, unexpected_of_reads
from indexer.clickhouse.sql_quoting import quote_text
from indexer.diagnosis.check import DoctorCheck, Judgement, Rows, Surroundings, failed, passed, skipped

#: The version whose engine the tests run on.
TESTED: Final = (26, 9)
#: Settings without which nothing is stored exactly once.
_NEEDED: Final = ("deduplicate_blocks_in_dependent_materialized_views", "insert_deduplication_token")
#: The defaults of a server; statements and parameters are as large.
_LIMITS: Final = {"max_query_size": 262_144, "http_max_field_value_size": 131_072}
#: Fewer of the bytes of a disk are too few to merge parts.
_MIN_FREE: Final = 0.1
#: Seconds that a query may take by default (shim.timeout_s); each statement carries the rest of them.
_QUERY_S: Final = 120.0
#: Milliseconds that the clocks of server and indexer may differ by.
_MAX_CLOCK_MS: Final = 5_000


def _version(rows: Rows, _: Surroundings) -> Judgement:
    text = str(rows[0][0])
    numbers = tuple(int(one) for one in text.split(".")[:2] if one.isdigit())
    tested = ".".join(map(str, TESTED))
    if numbers == TESTED:
        return passed(text)
    return skipped(f"{text}: Meterhouse is tested with {tested}")


def _features(rows: Rows, _: Surroundings) -> Judgement:
    known = {str(name) for (name,) in rows}
    if missing := [name for name in _NEEDED if name not in known]:
        return failed(f"this version has no {', '.join(missing)}")
    alp = "" if "enable_alp_codec" in known else "; no codec ALP: values take more bytes"
    return passed(f"inserts are deduplicated through views{alp}")


def _readonly(rows: Rows, _: Surroundings) -> Judgement:
    value = str(rows[0][0]) if rows else "0"
    return passed("readonly = 0") if value == "0" else failed(f"readonly = {value}: it may not write")


def _reads(rows: Rows, _: Surroundings) -> Judgement:
    value = str(rows[0][0]) if rows else "0"
    if value == NO_SETTINGS:
        return skipped("readonly = 1: no settings are sent, and long lists of ids are refused")
    return passed(f"readonly = {value}")


def _profile(rows: Rows, _: Surroundings) -> Judgement:
    values = {str(name): str(value) for name, value, _ in rows}
    fixed = {str(name) for name, _, fixed in rows if fixed}
    sends = values.get("readonly") != NO_SETTINGS
    other = unexpected(values) if sends else unexpected_of_reads(values)
    named = [f"{name} = {values[name]} (expected {wanted})" for name, wanted in other.items()]
    if wrong := [text for name, text in zip(other, named, strict=True) if name in fixed]:
        why = "fixed by the profile" if sends else "readonly = 1, and the profile has"
        return failed(f"{why}: {', '.join(wrong)}")
    return passed(f"set otherwise by Meterhouse: {', '.join(named)}" if named else "as expected")


def _limits(rows: Rows, _: Surroundings) -> Judgement:
    low = [f"{name} = {value}" for name, value in rows if 0 < int(value) < _LIMITS[str(name)]]
    return failed(f"below the default: {', '.join(low)}") if low else passed("as large as the defaults")


def _longest(rows: Rows, _: Surroundings) -> Judgement:
    """Judge the maximum of max_execution_time that a constraint allows."""
    allowed = next((float(value) for (value,) in rows if value), 0.0)
    if 0 < allowed < _QUERY_S:
        return failed(f"max_execution_time may be at most {allowed:g}: the shim sends up to {_QUERY_S:g}")
    return passed("statements may take as long as queries")


def _clock(rows: Rows, around: Surroundings) -> Judgement:
    off_ms = int(rows[0][0]) - around.now_ms
    text = f"{abs(off_ms) / 1000:.1f} s {'ahead of' if off_ms > 0 else 'after'} this machine's"
    return failed(text) if abs(off_ms) > _MAX_CLOCK_MS else passed(text)


def _disks(rows: Rows, _: Surroundings) -> Judgement:
    bad: list[str] = []
    said: list[str] = []
    for name, free, total, broken, readonly in rows:
        if broken or readonly:
            bad.append(f"{name} is {'broken' if broken else 'read-only'}")
        elif 0 < int(total) < 1 << 62:  # object storage has no end
            text = f"{name}: {int(free) / int(total):.0%} of {int(total) / 2**30:,.0f} GiB free"
            (bad if int(free) < _MIN_FREE * int(total) else said).append(text)
    return failed(", ".join(bad)) if bad else passed(", ".join(said) or "of unknown size")


def _quoted(*names: str) -> str:
    return ", ".join(map(quote_text, names))


_READONLY_OF_USER: Final = "SELECT value FROM system.settings WHERE name = 'readonly'"

PROFILE: Final = DoctorCheck(
    "profile",
    "",
    _profile,
    "These values change answers or lose rows silently: remove them and their constraints from the"
    " settings profile of the user.",
)
WRITES: Final = DoctorCheck(
    "may write", _READONLY_OF_USER, _readonly, "Give the indexer's user a settings profile with readonly = 0."
)
READS: Final = DoctorCheck(
    "may send settings",
    _READONLY_OF_USER,
    _reads,
    "Give the shim's user a settings profile with readonly = 2.",
)
LONGEST: Final = DoctorCheck(
    "longest statement",
    "SELECT max FROM system.settings WHERE name = 'max_execution_time'",
    _longest,
    "Set shim.timeout_s to that maximum, or raise it: longer queries are refused (code 452).",
    sends=True,
)
SERVER: Final = (
    DoctorCheck(  # the first one: later, our own time would be old
        "clock",
        "SELECT toUnixTimestamp64Milli(now64(3))",
        _clock,
        "Let NTP set both clocks: the times of migrations and heartbeats are the server's.",
    ),
    DoctorCheck("version", "SELECT version()", _version, ""),
    DoctorCheck(
        "features",
        f"SELECT name FROM system.settings WHERE name IN ({_quoted('enable_alp_codec', *_NEEDED)})",
        _features,
        "Upgrade ClickHouse: frames that are sent again would count twice.",
    ),
    DoctorCheck(
        "limits",
        f"SELECT name, value FROM system.settings WHERE name IN ({_quoted(*_LIMITS)})",
        _limits,
        "Long statements would be refused: remove these values from the settings profiles of both users.",
    ),
    DoctorCheck(
        "disks",
        "SELECT name, free_space, total_space, is_broken, is_read_only FROM system.disks ORDER BY name",
        _disks,
        "Repair or enlarge the disk, or shorten indexer.retention: frames wait while a disk is full.",
    ),
)
