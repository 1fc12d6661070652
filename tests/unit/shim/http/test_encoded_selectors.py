"""Selectors of a form that are too long, refused before the form is decoded."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest

from shim.http.request import check_encoded_selectors
from shim.model.errors import BadData

MAX_BYTES = 1_000


@pytest.mark.parametrize("name", ["match[]", "match%5B%5D", "match%5b%5d", "match%5b]"])
def test_selectors_that_are_too_long_are_refused(name: str) -> None:
    form = "&".join(f"{name}={'a' * 400}{number}" for number in range(8)).encode()
    with pytest.raises(BadData, match="selectors are longer than 1000 bytes"):
        check_encoded_selectors(form, MAX_BYTES)


@pytest.mark.parametrize(
    "form",
    [
        urlencode([("match[]", "%" * 100 + str(number)) for number in range(9)]),
        "match[]=" + quote("é" * 500, safe=""),
        "&".join(["match[]=" + "a" * 900] * 100),  # one selector, said again
        "query=" + "a" * 9_000,
        "a=match[]=" + "a" * 9_000,
        "",
    ],
)
def test_others_are_left_to_the_decoder(form: str) -> None:
    check_encoded_selectors(form.encode(), MAX_BYTES)
