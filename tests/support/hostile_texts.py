"""Harmful texts sent as queries: broken, huge, deep, or with SQL in every string. Pure.

`text(seed, i)` gives the same text for the same arguments, so one number names a failure.
"""

# ruff: noqa: E501 (lists of short texts, many to a line)

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from tests.support.differential.generate import Generator
from tests.support.differential.words import ARITHMETIC, COMPARISONS, ELEMENTWISE, OVER_TIME, SETS

#: Strings that want to be SQL, a path, a format, or no text at all.
PAYLOADS: Final = (
    "'", '\\"', "\\\\", "\\'", "`", "';DROP TABLE gauges_10s;--", "' OR 1=1 --", "\\') OR (1=1", "1); SELECT 1 --",
    "{id:UInt64}", "%s%n%x", "${jndi:x}", "$1$2$99999999999", "%", "_", "*/ x /*", "--", "#", "\\x00", "\\u0000",
    "\\n\\r\\t", "\\377", "\\u2028", "é", "\U0001f600", "\u202e", "\ufeff", "a" * 300, "../../etc/passwd", "FORMAT CSV",
    "toString(42)", "\\U0010FFFF", "e\u0301", "SETTINGS max_rows=1", "\\b\\0", ")|(?:", "(?s:.*)", "[[:alpha:]]+",
)  # fmt: skip
#: Where a string can stand.
POSITIONS: Final = (
    'temp{{host="{}"}}', 'temp{{host!="{}"}}', 'temp{{host=~"{}"}}', 'temp{{host!~"{}"}}', 'temp{{"{}"="h1"}}',
    'temp{{"{}"=~".*"}}', '{{"{}"}}', '{{__name__="{}"}}', '{{__name__=~"{}"}}', '{{__name__=~"temp|{}"}}',
    'sum by ("{}") (temp)', 'sum without ("{}") (temp)', 'count_values("{}", temp)', '{{__type__="{}",host="h1"}}',
    'temp / on ("{}") group_left ("{}") temp', 'label_replace(temp, "{}", "x", "host", ".*")', '"{}"',
    'label_replace(temp, "x", "{}", "host", ".*")', 'label_replace(temp, "x", "y", "{}", ".*")',
    'label_replace(temp, "x", "y", "host", "{}")', 'label_join(temp, "{}", "x", "host")', "temp # {}",
    'label_join(temp, "x", "{}", "host")', 'label_join(temp, "x", "-", "{}")', 'absent(nosuch{{host="{}"}})',
    'rate({{"{}"}}[5m])', 'sum by (host) (rate(temp{{zone!="{}"}}[5m]))', 'sort_by_label(temp, "{}")',
)  # fmt: skip
TOKENS: Final = (
    *("(", ")", "{", "}", "[", "]", ",", ":", "@", "=", "=~", "!~", "!", '"', "'", "`", "\\", "#", "\n", "$", "%"),
    *("by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "start()", "end()", "le"),
    *("temp", "load", "1", "0", "-1", "1e400", "0x", "NaN", "Inf", "5m", "1y", "99999999y", "0s", "1ms", "-5m", "fill"),
    *("__name__", "sum", "topk", "quantile", "count_values", "rate", "vector", "scalar", "time()", "absent", '"a"'),
    *ARITHMETIC, *COMPARISONS, *SETS, *ELEMENTWISE[:4], *OVER_TIME[:6],
)  # fmt: skip
NUMBERS: Final = (
    "0", "-0", "1e308", "1e309", "-1e309", "9" * 400, "0." + "0" * 400 + "1", "9223372036854775807",
    "9223372036854775808", "18446744073709551616", "-9223372036854775809", "0x7fffffffffffffffff", "1_000", "1e-400",
)  # fmt: skip
DURATIONS: Final = (
    "0s", "1ms", "1y", "292y", "293y", "1000y", "99999999999999999999s", "1d1s", "106751991167d", "1s1d", "5",
)  # fmt: skip
#: An opening that nests, its content, and its end.
NESTS: Final = (
    ("(", "1", ")"), ("-", "1", ""), ("sum(", "temp", ")"), ("abs(", "temp", ")"), ("max_over_time(", "temp", "[5m:1m])"),
    ("1 + (", "1", ")"), ("(", "", ""), ("{", "", ""), ("temp[", "5m", "]"), ("1 +", "1", ""), ("temp or ", "temp", ""),
    ("vector(scalar(", "temp", "))"), ("{a=", '"b"', "}"), ("+-", "temp", ""), ("x ^ ", "2", ""), ("not ", "x", ""),
    ("(temp and ", "temp", ")"), ("!", "x", "!"), ("[", "", ""), ("\"", "", ""), ("'", "", ""), ("`", "", "`"), ("#", "", ""),
)  # fmt: skip
#: Regular expressions that take time or memory, or are broken.
PATTERNS: Final = (
    "(a{1000}){1000}", "(a|b)*" * 5_000, "|".join(f"h{n}" for n in range(20_000)), "(" * 3_000 + ")" * 3_000,
    "[^a]{1000}" * 20, "(x+x+)+y", "\\\\p{Greek}{500}", "(?i)" + "é" * 3_000, ".*" * 10_000, "[", "(?P<a>x)(?P<a>y)",
    "(?=x)", "\\\\C", "x{2,1}", "*", "a**", "(?#x)", "\\\\1", "(((((a{30}){30}){30}){30}){30})",
)  # fmt: skip


def text(seed: str, i: int) -> str:
    """Return the i-th text."""
    rng = random.Random(f"{seed}/{i}")
    kinds: Sequence[tuple[Callable[[random.Random], str], int]] = (
        (_mutated, 400), (_soup, 200), (_injected, 150), (_unicode, 80), (_bytes, 80), (_numbers, 60), (_valid, 40),
        (_nested, 12), (_regex, 6), (_labels, 2),
    )  # fmt: skip
    return rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0](rng)


def _valid(rng: random.Random) -> str:
    return Generator(rng, 1_790_000_000).query(rng.choice((0, 1, 2, 3))).text


def _mutated(rng: random.Random) -> str:
    out = _valid(rng)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        a = rng.randrange(len(out) + 1)
        b = min(len(out), a + rng.choice((1, 1, 2, 5, 20)))
        new = rng.choice(
            ("", out[a:b] * 2, rng.choice(TOKENS), rng.choice(PAYLOADS), _character(rng), out[a:b][::-1])
        )
        out = out[:a] + new + out[b:]
    return out


def _character(rng: random.Random) -> str:
    return chr(rng.choice((rng.randrange(128), rng.randrange(0x800), rng.randrange(0x110000), 0xD800, 0)))


def _soup(rng: random.Random) -> str:
    return rng.choice((" ", "", " ")).join(rng.choice(TOKENS) for _ in range(rng.randrange(1, 25)))


def _injected(rng: random.Random) -> str:
    return rng.choice(POSITIONS).replace("{}", rng.choice(PAYLOADS)).replace("{{", "{").replace("}}", "}")


def _unicode(rng: random.Random) -> str:
    return "".join(_character(rng) for _ in range(rng.randrange(1, 60)))


def _bytes(rng: random.Random) -> str:
    """Return bytes as a form would bring them: those that are not UTF-8 become lone surrogates."""
    return rng.randbytes(rng.randrange(1, 80)).decode("utf-8", rng.choice(("surrogateescape", "replace")))


def _numbers(rng: random.Random) -> str:
    form = rng.choice((
        "temp[{d}]", "rate(temp[{d}:{e}])", "max_over_time(temp[{d}:{e}])", "temp offset {d}", "temp offset -{d}",
        "temp @ {n}", "temp @ -{n}", "max_over_time(temp[{d}:1s] @ {n} offset {e})", "topk({n}, temp)", "vector({n})",
        "quantile_over_time({n}, temp[{d}])", "predict_linear(temp[{d}], {n})", "{n} % {n}", "temp ^ {n}",
        "histogram_quantile({n}, temp)", "round(temp, {n})", "day_of_month(vector({n}))", "limitk({n}, temp)",
        "limit_ratio({n}, temp)", "clamp(temp, {n}, -{n})", "rate(temp[{d}] @ {n})", "{n}{n}", "{d}",
    ))  # fmt: skip
    while "{n}" in form or "{d}" in form or "{e}" in form:
        form = form.replace("{n}", rng.choice(NUMBERS), 1)
        form = form.replace("{d}", rng.choice(DURATIONS), 1).replace("{e}", rng.choice(DURATIONS), 1)
    return form


def _nested(rng: random.Random) -> str:
    before, inside, after = rng.choice(NESTS)
    depth = rng.choice((10, 99, 100, 101, 300, 1_000, 20_000))
    return before * depth + inside + after * rng.choice((depth, depth, depth - 1, depth + 1, 0))


def _regex(rng: random.Random) -> str:
    pattern = rng.choice(PATTERNS)
    form = rng.choice((
        'temp{host=~"%s"}', 'temp{host!~"%s"}', '{__name__=~"%s"}', 'label_replace(temp, "x", "$1", "host", "%s")',
    ))  # fmt: skip
    return form.replace("%s", pattern)


def _labels(rng: random.Random) -> str:
    count = rng.choice((100, 2_000, 12_000))
    names = ", ".join(f"label_{n}" for n in range(count))
    matchers = ", ".join(f'label_{n}!="{n}"' for n in range(count))
    return rng.choice((
        f"sum by ({names}) (temp)", f"sum without ({names}) (temp)", f"temp + on ({names}) temp", f"temp{{{matchers}}}",
        f"temp * ignoring ({names}) group_left ({names}) temp", " + ".join(["temp"] * min(count, 2_000)),
        'label_join(temp, "x", "-", ' + names.replace("label", '"l').replace(",", '",') + '")',
    ))  # fmt: skip
