"""The function mapper: ClickHouse's operators and aggregates under one name each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: By the function of time: the seconds of its intervals.
TIME_BUCKETS: Final[Mapping[str, int]] = {
    "toStartOfMinute": 60, "toStartOfFiveMinute": 300, "toStartOfFiveMinutes": 300,
    "toStartOfTenMinutes": 600, "toStartOfFifteenMinutes": 900, "toStartOfHour": 3_600,
    "toStartOfDay": 86_400,
}  # fmt: skip
#: Seconds of `toIntervalHour(n)` and its like.
INTERVALS: Final[Mapping[str, int]] = {
    "toIntervalSecond": 1, "toIntervalMinute": 60, "toIntervalHour": 3_600, "toIntervalDay": 86_400,
}  # fmt: skip
COMPARISONS: Final = frozenset(
    {
        "equals",
        "notEquals",
        "less",
        "lessOrEquals",
        "greater",
        "greaterOrEquals",
        "in",
        "notIn",
        "like",
        "notLike",
    }
)
LOGICAL: Final = frozenset({"and", "or", "not"})
#: How a comparison reads from its other side: `1 < a` is `a > 1`.
MIRRORED: Final[Mapping[str, str]] = {
    "equals": "equals", "notEquals": "notEquals", "less": "greater", "lessOrEquals": "greaterOrEquals",
    "greater": "less", "greaterOrEquals": "lessOrEquals",
}  # fmt: skip
NEGATED: Final[Mapping[str, str]] = {
    "notEquals": "equals",
    "notIn": "in",
    "notLike": "like",
    "isNotNull": "isNull",
}
