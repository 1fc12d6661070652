"""Metadata that an agent encodes reads back, and no bytes raise other errors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.wire.metadata import (
    MetadataError,
    MetadataMessage,
    MetricDescription,
    MetricMetadata,
    decode,
    encode,
)

BOUNDS = st.lists(st.floats(-1e300, 1e300), unique_by=lambda b: b + 0.0, max_size=20).map(sorted).map(tuple)


SAID = st.builds(MetricDescription, st.text(max_size=20), st.text(max_size=20), BOUNDS)


@given(st.dictionaries(st.text(min_size=1, max_size=20), SAID, max_size=5))
def test_what_is_encoded_is_decoded(metrics: dict[str, MetricDescription]) -> None:
    rows = tuple(MetricMetadata(name, one.help, one.unit, one.buckets) for name, one in metrics.items())
    assert decode(encode(7, 9, metrics)) == MetadataMessage(7, 9, rows)


@given(st.binary(max_size=40))
def test_decoding_raises_nothing_else(data: bytes) -> None:
    try:
        decode(data)
    except MetadataError:
        return
