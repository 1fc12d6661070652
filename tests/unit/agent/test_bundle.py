"""Bundles: whole, cut at every byte, any bytes; and their answers."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.bundle import MAX_FRAMES, BundleError, FrameAnswer, decode, decode_answers, encode


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=MAX_FRAMES))
def test_what_is_encoded_is_decoded(frames: list[bytes]) -> None:
    assert decode(encode(frames)) == frames


def test_cut_at_every_byte() -> None:
    whole = encode([b"one", b"", b"three"])
    whole_ends = {len(encode([b"one"])), len(encode([b"one", b""])), len(whole)}
    for end in range(len(whole)):
        if end not in whole_ends:
            with pytest.raises(BundleError):
                decode(whole[:end])


@given(st.binary(max_size=100))
def test_any_bytes_raise_nothing_else(data: bytes) -> None:
    for body in (data, b"MHbundl1" + data):
        with contextlib.suppress(BundleError):
            assert encode(decode(body)) == body
    with pytest.raises(BundleError):
        decode_answers(data, 1_000)


def test_too_many_frames_are_refused_before_they_are_taken() -> None:
    with pytest.raises(BundleError, match=f"too many frames: at most {MAX_FRAMES} are accepted"):
        decode(encode([b""] * (MAX_FRAMES + 1)))


def test_answers() -> None:
    body = b'{"answers": [{"status": 200, "rows": 5}, {"status": 503, "error": "later", "retry_after": 1.5}]}'
    assert decode_answers(body, 2) == [FrameAnswer(200, 5), FrameAnswer(503, error="later", retry_after=1.5)]
    with pytest.raises(BundleError, match="2 answers: expected 3"):
        decode_answers(body, 3)
