"""The metadata message: its content, and the refused ones."""

from __future__ import annotations

import json

import pytest

from agent.wire.metadata import (
    MAX_BUCKETS,
    MAX_METRICS,
    MetadataError,
    MetricDescription,
    decode,
    encode,
    in_seconds,
)


def test_what_a_message_looks_like() -> None:
    body = encode(1, 2, {"x": MetricDescription("Of x.", "", (0.1, 1.0)), "y": MetricDescription()})
    assert json.loads(body) == {
        "org_id": 1,
        "project_id": 2,
        "metrics": [{"name": "x", "help": "Of x.", "buckets": [0.1, 1.0]}, {"name": "y"}],
    }


def body(*metrics: object, **changes: object) -> bytes:
    return json.dumps({"org_id": 1, "project_id": 1, "metrics": metrics, **changes}).encode()


BAD = {
    b"": "truncated",
    b"\xff": "malformed",
    b"[]": "Expected `object`",
    b"{}": "missing required field `org_id`",
    body(org_id=0): "`int` >= 1 - at `$.org_id`",
    body(project_id=2**32): "`int` <= 4294967295 - at `$.project_id`",
    body({}): "missing required field `name` - at `$.metrics[0]`",
    body({"name": ""}): "length >= 1 - at `$.metrics[0].name`",
    body({"name": "x" * 4097}): "length <= 4096",
    body({"name": "x", "help": "h" * 1001}): "length <= 1000 - at `$.metrics[0].help`",
    body({"name": "x", "unit": "u" * 65}): "length <= 64",
    body({"name": "x", "type": "counter"}): "unknown field `type`",
    body({"name": "x", "buckets": [1.0] * (MAX_BUCKETS + 1)}): f"length <= {MAX_BUCKETS}",
    body({"name": "x"}, {"name": "y", "buckets": [2, 1]}): "do not ascend - at `$.metrics[1].buckets`",
    body({"name": "x", "buckets": [1, 1]}): "boundaries do not ascend",
    body({"name": "x", "buckets": [1e301]}): "a boundary is not finite",
    body(*[{"name": "x"}] * (MAX_METRICS + 1)): f"length <= {MAX_METRICS}",
}


@pytest.mark.parametrize("data", BAD)
def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(MetadataError) as error:
        decode(data)
    assert BAD[data] in str(error.value)


def test_filling() -> None:
    assert MetricDescription("a", "", (1.0,)).filled(
        MetricDescription("b", "u", (2.0,))
    ) == MetricDescription("a", "u", (1.0,))


def test_names_in_seconds() -> None:
    names = ["x_seconds", "x.seconds", "seconds", "x-seconds"]
    assert all(map(in_seconds, names))
    assert not any(map(in_seconds, ["milliseconds", "x_seconds_total", "x_second", "seconds_x", ""]))
