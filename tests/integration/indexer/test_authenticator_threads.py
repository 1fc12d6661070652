"""Passwords are hashed on threads: once for each, in a bounded line."""

from __future__ import annotations

import asyncio
import base64

import pytest

from indexer.access.grants import (
    CheckingError,
    Tenant,
    UnauthenticatedError,
    parse_file,
)
from indexer.http.authenticator import MAX_WAITING, Authenticator
from tests.unit.indexer.test_authenticator import made


def basic(name: str, password: str) -> list[str]:
    return ["Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()]


async def test_passwords_are_checked_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    password, line = made(capsys, "--user", "grafana", "--may", "query")
    authenticator = Authenticator(parse_file(line))
    assert "Basic" in authenticator.challenge
    assert (await authenticator.grant(basic("grafana", password))).tenant == Tenant(1, 1)
    for name, wrong in (("grafana", password + "x"), ("grafana", ""), ("ada", password)):
        with pytest.raises(UnauthenticatedError):
            await authenticator.grant(basic(name, wrong))
    monkeypatch.setattr("indexer.access.grants.hash_password", None)  # remembered ones do not need it
    assert (await authenticator.grant(basic("grafana", password))).tenant == Tenant(1, 1)


async def test_guesses_wait_in_a_bounded_line_and_keep_nobody_out(capsys: pytest.CaptureFixture[str]) -> None:
    password, line = made(capsys, "--user", "grafana", "--may", "query")
    authenticator = Authenticator(parse_file(line))
    await authenticator.grant(basic("grafana", password))
    guesses = [
        asyncio.ensure_future(authenticator.grant(basic("grafana", str(i)))) for i in range(MAX_WAITING)
    ]
    await asyncio.sleep(0)
    with pytest.raises(CheckingError):
        await authenticator.grant(basic("grafana", "one more"))
    assert (await authenticator.grant(basic("grafana", password))).tenant == Tenant(1, 1)
    for guess in guesses[1:]:
        guess.cancel()
    await asyncio.gather(*guesses, return_exceptions=True)
