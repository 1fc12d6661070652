"""The words of random queries: the metrics of data.py, matchers for their labels, names of functions."""

from __future__ import annotations

from typing import Final

MATCHERS: Final = {
    "host": (
        'host=~"h\\\\d"',
        "host='h1'",
        "host=`h1`",
        'host="\\x68\\061"',
        'host=~"h[\\x30-2]"',
        'host=~"(h)(1|2)?"',
        'host=~"h1|"',
        'host!~"h1|h2|"',
        "host=~`h[^1\\]]`",
        'host="h1", host!="h2"',
        'host=~"h.", host!~".[12]"',
        'host="h1"',
        'host!="h2"',
        'host=~"h[0-2]"',
        'host!~"h(3|4)"',
        'host=~"h.*"',
        'host=~"h1|h3"',
    ),
    "route": ('route="a"', 'route!="a"', 'route=~"a|b"', 'route!~"b.*"', 'route=~".+"'),
    "zone": ('zone="x"', 'zone=""', 'zone!=""', 'zone=~"x|"', 'zone!~"y"', 'zone=~".*"'),
    "team": ('team="blue"', 'team=~"bl.e"', 'team!~"blue"', 'team!="red"'),
    "mode": ('mode="idle"', 'mode=~"user|idle"', 'mode!="user"'),
    "version": ('version="1.0.0"', 'version=~"1[.](0|2)[.]0"', 'version!="1.1.0"'),
    "le": ('le="+Inf"', 'le="0.5"', 'le!="+Inf"', 'le=~"0[.].*"'),
    "": ('nosuch=""', 'nosuch!="x"', 'host=~"(?i)H1"', 'host!~""'),
}
LABELS_OF: Final = {
    "temp": ("host", "route", "zone"),
    "load": ("host", "route"),
    "mem": ("host", "team"),
    "build": ("host", "version"),
    "cpu_user_total": ("host", "mode"),
    "cpu_idle_total": ("host", "mode"),
    "sparse": ("host",),
    "gone": ("host", "route"),
    "late": ("host", "route"),
    "lat_bucket": ("route", "le"),
    "lat_count": ("route",),
    "lat_sum": ("route",),
    "nothing": ("host",),
}
METRICS: Final = (*("temp", "load", "mem", "cpu_user_total") * 4, *LABELS_OF)
#: Metrics whose values are hardly ever equal.
DISTINCT: Final = ("temp", "mem")
BY: Final = ("host", "route", "zone", "team", "mode", "version", "nosuch")

OFFSETS_MS: Final = (
    10_000,
    60_000,
    120_000,
    420_000,
    13_000,
    64_000,
    3_000,
    1_500,
    -30_000,
    -120_000,
    -7_000,
)
WINDOWS_MS: Final = (20_000, 30_000, 45_000, 60_000, 125_000, 300_000, 300_000, 600_000, 1_200_000, 3_600_000)
SUBQUERIES_MS: Final = (60_000, 300_000, 600_000, 1_265_000)
STEPS: Final = ("10s", "20s", "30s", "1m", "2m", "")
#: Steps of subqueries that are no multiples of 10 s, and how far apart their times are modulo 10 s.
ODD: Final = {"15s": 5_000, "45s": 5_000, "7s": 1_000, "1m4s": 2_000, "25s": 5_000}

ELEMENTWISE: Final = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "cosh", "deg", "exp", "ln", "log10", "log2",
    "rad", "sinh", "sqrt", "tanh",
)  # fmt: skip
#: Functions that make a large difference of a rounding error: their arguments are exact.
JUMPING: Final = ("ceil", "cos", "floor", "round", "sgn", "sin", "tan")
DATES: Final = (
    "day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year",
)  # fmt: skip
OVER_TIME: Final = (
    "avg_over_time", "changes", "count_over_time", "delta", "deriv", "idelta", "increase", "irate",
    "last_over_time", "max_over_time", "min_over_time", "present_over_time", "rate", "resets",
    "stddev_over_time", "stdvar_over_time", "sum_over_time",
)  # fmt: skip
EXACT_OVER_TIME: Final = (
    "changes", "count_over_time", "last_over_time", "max_over_time", "min_over_time", "present_over_time",
    "resets", "sum_over_time",
)  # fmt: skip
EXACT_AGGREGATIONS: Final = ("count", "group", "max", "min", "sum")
PLAIN_AGGREGATIONS: Final = ("avg", "count", "group", "max", "min", "stddev", "stdvar", "sum")
ARITHMETIC: Final = ("+", "-", "*", "/", "^", "atan2")
COMPARISONS: Final = ("==", "!=", ">", "<", ">=", "<=")
SETS: Final = ("and", "or", "unless")
NUMBERS: Final = (
    "0", "1", "2", "3", "-1", "0.5", "10", "20.25", "100", "1e3", "0x1F", "4000", "Inf", "-Inf", "NaN",
)  # fmt: skip
REPLACEMENTS: Final = (
    '"dst", "$1", "host", "h(.*)"', '"host", "all", "host", ".*"', '"route", "$1-$2", "host", "(.)(.)"',
    '"dst", "x", "nosuch", ""', '"dst", "x", "host", "nomatch"', '"zone", "", "zone", ".*"',
    '"dst", "${name}!", "host", "h(?P<name>[0-3])"', '"dst", "$0", "host", ".*"',
    '"dst", "$$1", "host", "(.*)"',
    '"dst", "${1}0$1", "host", "h(.)"', '"dst", "$10", "host", "h(.)"', '"dst", "$2", "host", "(h)(?:.)"',
    '"dst", "\\"$1\\t\\u00e9", "host", "(?i)H(.)"', "'dst', 'x$1', 'host', '(h1|h2)'",
    '"host", "", "host", "h1"',
    '"route", "$1", "zone", "(.*)"', '"dst", "$1", "nosuch", "(.*)"', '"zone", "$1$2", "host", "(h)|(x)"',
)  # fmt: skip
JOINS: Final = (
    '"dst", "-", "host", "route"',
    '"dst", "", "nosuch"',
    '"host", "/", "route", "host"',
    '"dst", ","',
    '"dst", "\\\\", "host", "nosuch", "route", "zone"',
    '"zone", "", "host"',
)


def operator(matcher: str) -> str:
    """Return a matcher's `=`, `!=`, `=~` or `!~`."""
    return next(op for op in ("=~", "!~", "!=", "=") if op in matcher.partition('"')[0])


def duration(ms: int) -> str:
    """As one would write it: `2m5s`."""
    out = ""
    for unit, unit_ms in (("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        if ms >= unit_ms:
            out += f"{ms // unit_ms}{unit}"
            ms %= unit_ms
    return out
