"""Requests that cannot be sent."""

from __future__ import annotations

import asyncio

import pytest

from shim.notify.http_poster import HttpPoster


@pytest.mark.parametrize(
    "url", ["hooks.example.com/secret", "ftp://hooks.example.com/secret", "http:///secret"]
)
def test_the_error_of_a_url_does_not_tell_it(url: str) -> None:
    async def post() -> None:
        poster = HttpPoster(timeout_s=1.0)
        try:
            await poster.post(url, b"", {})
        finally:
            await poster.close()

    with pytest.raises(ValueError, match="the URL cannot be read") as told:
        asyncio.run(post())
    assert "secret" not in str(told.value)
