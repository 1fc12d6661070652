"""Parameters and the texts of their errors, as Prometheus 3.x has them."""

from __future__ import annotations

import pytest

from shim.http import params as p
from shim.model.errors import BadData
from shim.model.grid import Grid


def make(**values: str) -> p.Params:
    return p.Params({k: [v] for k, v in values.items()})


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("1.5", 1500),
        ("-1.5", -1500),
        ("1e3", 1_000_000),
        ("1763766000.123", 1763766000123),
        ("1763766000.9999", 1763766001000),
        (".5", 500),
        ("2015-07-01T20:10:51Z", 1435781451000),
        ("2015-07-01T20:10:51.781Z", 1435781451781),
        ("2015-07-01T20:10:51.7819999Z", 1435781451781),
        ("2015-07-01T22:10:51+02:00", 1435781451000),
        ("2015-07-01T18:40:51-01:30", 1435781451000),
        ("1969-12-31T23:59:59.5Z", -500),
    ],
)
def test_times(text: str, ms: int) -> None:
    assert p.parse_time_ms(text) == ms


@pytest.mark.parametrize(
    "text", ["", "x", "yesterday", "1_000", "NaN", "Inf", "1e400", "2015-13-01T00:00:00Z", "2015-07-01", "٣"]
)
def test_bad_times(text: str) -> None:
    with pytest.raises(ValueError, match=r"^cannot parse .* to a valid timestamp$"):
        p.parse_time_ms(text)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1", 1000),
        ("0.5", 500),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("7ms", 7),
        ("1y2w3d", 33_004_800_000),
    ],
)
def test_durations(text: str, ms: float) -> None:
    assert p.parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "soon", "m", "5m1h", "1.5h", "-5m", "5 m", "1e300", "999999999y"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"^cannot parse .* to a valid duration"):
        p.parse_duration_ms(text)


def test_a_time_left_out_and_a_bad_one() -> None:
    assert p.time_ms(make(), "time", 7) == 7
    assert p.time_ms(make(time=""), "time", 7) == 7
    with pytest.raises(BadData) as e:
        p.time_ms(make(time="yesterday"), "time", 7)
    assert str(e.value) == (
        "invalid parameter \"time\": invalid time value for 'time': "
        'cannot parse "yesterday" to a valid timestamp'
    )


def test_grid() -> None:
    assert p.grid(make(start="10", end="70.5", step="15"), 11_000) == Grid(10_000, 70_500, 15_000)
    assert (
        p.grid(make(start="0", end="11000", step="1"), 11_000).steps == 11_001
    )  # Prometheus' own off-by-one


@pytest.mark.parametrize(
    ("start", "end", "step", "text"),
    [
        ("x", "1", "1", 'invalid parameter "start": cannot parse "x" to a valid timestamp'),
        ("1", "", "1", 'invalid parameter "end": cannot parse "" to a valid timestamp'),
        ("2", "1", "1", 'invalid parameter "end": end timestamp must not be before start time'),
        ("1", "2", "fast", 'invalid parameter "step": cannot parse "fast" to a valid duration'),
        (
            "1",
            "2",
            "0",
            (
                'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
                "Try a positive integer"
            ),
        ),
        (
            "0",
            "11001",
            "1",
            (
                "exceeded maximum resolution of 11,000 points per timeseries. "
                "Try decreasing the query resolution (?step=XX)"
            ),
        ),
    ],
)
def test_bad_grids(start: str, end: str, step: str, text: str) -> None:
    with pytest.raises(BadData) as e:
        p.grid(make(start=start, end=end, step=step), 11_000)
    assert str(e.value) == text


def test_a_step_under_a_millisecond_is_one() -> None:
    assert p.grid(make(start="0", end="1", step="0.0005"), 11_000) == Grid(0, 1000, 1)


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "99999999999999999999"])
def test_bad_limits(text: str) -> None:
    with pytest.raises(BadData, match=r'^invalid parameter "limit": '):
        p.limit(make(limit=text))


def test_limits() -> None:
    assert [p.limit(make(limit=t)) for t in ("", "0", "7", "+7")] == [0, 0, 7, 7]


def test_timeouts() -> None:
    assert p.timeout_s(make(), 120) == 120
    assert p.timeout_s(make(timeout="5s"), 120) == 5
    assert p.timeout_s(make(timeout="1h"), 120) == 120
    with pytest.raises(BadData, match=r'^invalid parameter "timeout": cannot parse "soon"'):
        p.timeout_s(make(timeout="soon"), 120)


def test_lookback_and_granularity() -> None:
    assert p.lookback_ms(make(lookback_delta="1m")) == 60_000
    assert p.lookback_ms(make()) is None
    with pytest.raises(BadData, match=r"^error parsing lookback delta duration: cannot parse"):
        p.lookback_ms(make(lookback_delta="x"))
    assert p.counter_lookback_ms(make(counter_lookback="2h")) == 7_200_000
    assert p.counter_lookback_ms(make(counter_lookback="0")) is None
    assert p.counter_lookback_ms(make()) is None
    with pytest.raises(BadData, match=r'^invalid parameter "counter_lookback": cannot parse "x"'):
        p.counter_lookback_ms(make(counter_lookback="x"))
    assert p.granularity_s(make(granularity="60")) == 60
    for text in ("5", "15", "x", "-10"):
        with pytest.raises(BadData, match=r'^invalid parameter "granularity": '):
            p.granularity_s(make(granularity=text))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("type", "type"),
        ("U__type", "type"),
        ("U__http_2e_method", "http.method"),
        ("U__a__b", "a_b"),
        ("U___1f600_", "😀"),
        ("U__a_zz_", "U__a_zz_"),
        ("U__a_d800_", "U__a_d800_"),
        ("U__a_", "U__a_"),
    ],
)
def test_escaped_label_names(name: str, plain: str) -> None:
    assert p.unescape_label_name(name) == plain
