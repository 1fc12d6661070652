"""Series of an answer that are read while it arrives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shim.cli.matrix_stream import MatrixError, series_of

SERIES: list[dict[str, Any]] = [
    {"metric": {"k": 'a"}]é€\U0001f600'}, "values": [[10, "1"], [20, "+Inf"]]},
    {"metric": {}, "histograms": [[10, {"count": "1", "sum": "2", "buckets": [[0, "1", "2", "1"]]}]]},
    {"metric": {"long": "x" * 500}, "values": []},
]


def answer(series: list[dict[str, Any]], indent: int | None = None, *, ascii_only: bool = False) -> bytes:
    data = {"resultType": "matrix", "result": series}
    document = {"status": "success", "data": data, "warnings": ["]"]}
    return json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100_000])
@pytest.mark.parametrize("text", [answer(SERIES), answer(SERIES, indent=2), answer(SERIES, ascii_only=True)])
def test_chunks_of_any_size_have_the_same_series(text: bytes, size: int) -> None:
    found = list(series_of(text[i : i + size] for i in range(0, len(text), size)))
    assert [series for series, _ in found] == SERIES
    assert all(100 * chars > len(json.dumps(series)) for series, chars in found)


def test_no_series() -> None:
    assert list(series_of([answer([])])) == []


def test_each_end_before_the_end_is_told() -> None:
    text = answer(SERIES)
    for size in range(text.index(b'"warnings"') - 4):
        with pytest.raises(MatrixError, match="ends early"):
            list(series_of([text[:size]]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"<html>" + b"x" * 70_000, "no result"),
        (b'{"data":{"result":[1,2]}}', "not a series"),
        (b'{"data":{"result":[{"a":x' + b" " * 300, "ends early"),
        (b'{"data":{"result":[' + b"[" * 100_000, "ends early"),
    ],
)
def test_other_answers_are_refused(text: bytes, said: str) -> None:
    with pytest.raises(MatrixError, match=said):
        list(series_of([text]))


def test_an_element_without_an_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shim.cli.matrix_stream._MAX_ELEMENT", 1000)
    read = []

    def chunks() -> Iterator[bytes]:
        yield b'{"data":{"result":[{"a":"'
        while True:
            read.append(0)
            yield b"x" * 100

    with pytest.raises(MatrixError, match="too large"):
        list(series_of(chunks()))
    assert len(read) < 20
