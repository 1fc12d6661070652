"""The credentials of a running process: a file that changes, passwords that cost, hashes by command."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from indexer.access.grants import (
    Certificate,
    EntryError,
    Right,
    Tenant,
    UnauthenticatedError,
    parse_file,
)
from indexer.cli.token import token
from indexer.http.authenticator import Authenticator
from indexer.settings import Settings, entries


class Clock:
    """Seconds that tests set."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


async def opens(authenticator: Authenticator, secret: str) -> Tenant | None:
    try:
        return (await authenticator.grant([f"Bearer {secret}"])).tenant
    except UnauthenticatedError:
        return None


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, clock = tmp_path / "tokens", Clock()
    file.write_text("old 1:1 write\n")
    authenticator = Authenticator([], str(file), clock_s=clock)
    assert await opens(authenticator, "old") == Tenant(1, 1)
    file.write_text("newer 1:2 write\n")
    assert await opens(authenticator, "old") == Tenant(1, 1)  # looked at once a second
    clock.s = 1.5
    assert (await opens(authenticator, "old"), await opens(authenticator, "newer")) == (None, Tenant(1, 2))
    clock.s = 3.0
    file.write_text("newest\n")
    with caplog.at_level(logging.ERROR, "indexer"):
        assert await opens(authenticator, "newer") == Tenant(1, 2)  # a broken file changes nothing
    assert "line 1" in caplog.text
    assert "newest" not in caplog.text
    file.unlink()
    caplog.clear()
    for clock.s in (5.0, 7.0):
        assert await opens(authenticator, "newer") == Tenant(1, 2)
    assert caplog.text.count("event=tokens_not_read") == 1
    file.write_text("last 1:3 write\n")
    clock.s = 9.0
    assert await opens(authenticator, "last") == Tenant(1, 3)


def test_a_file_that_cannot_be_used_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(EntryError, match="cannot be read"):
        Authenticator([], str(tmp_path / "none"))
    (tmp_path / "bad").write_bytes(b"\xff")
    with pytest.raises(EntryError, match="UTF-8"):
        Authenticator([], str(tmp_path / "bad"))


def test_a_file_of_tokens_that_everybody_reads_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens"
    file.write_text("s3cret 1:1 write\n")
    file.chmod(0o644)
    Authenticator([], str(file))
    assert "event=readable_tokens" in caplog.text
    assert "s3cret" not in caplog.text
    caplog.clear()
    file.chmod(0o640)
    Authenticator([], str(file))
    assert not caplog.records


async def test_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("")
    authenticator = Authenticator([], str(tmp_path / "tokens"))
    assert authenticator.asks
    assert await opens(authenticator, "x") is None
    assert not Authenticator([]).asks


def made(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[str, str]:
    """Return the secret and the line that the command made."""
    assert token(argv) == 0
    shown, line = capsys.readouterr().out.splitlines()
    return shown.rpartition(": ")[2], line


async def test_the_command_makes_what_lets_in(capsys: pytest.CaptureFixture[str]) -> None:
    secret, line = made(capsys, "--scope", "3:*", "--may", "write,admin", "--days", "1")
    assert secret not in line
    authenticator = Authenticator(parse_file(line))
    grant = await authenticator.grant([f"Bearer {secret}"])
    assert (grant.tenant, grant.rights) == (Tenant(3, None), frozenset({Right.WRITE, Right.ADMIN}))
    late = Authenticator(parse_file(line), now_s=lambda: grant.expires_s)
    with pytest.raises(UnauthenticatedError, match="expired"):
        await late.grant([f"Bearer {secret}"])


def test_the_command_reads_a_secret_of_ones_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("my own\n"))
    assert token(["--stdin"]) == 0
    out = capsys.readouterr().out
    assert "my own" not in out
    assert parse_file(out)[0].grant.tenant == Tenant(1, 1)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert token(["--stdin"]) == 2
    assert token(["--scope", "1"]) == 2


def test_plain_lists_have_the_first_project() -> None:
    (entry,) = entries(Settings(tokens=["x"]))
    assert (entry.grant.tenant, entry.grant.rights) == (Tenant(1, 1), frozenset({Right.WRITE}))
    with pytest.raises(ValueError, match="empty"):
        Settings(tokens=["", "x"])


def certificate(
    name: str = "web-1", fingerprint: bytes = b"f" * 32, not_after_s: float = 1e12
) -> Certificate:
    return Certificate(name, fingerprint, not_after_s)


async def test_certificates(tmp_path: Path) -> None:
    file, clock, now = tmp_path / "tokens", Clock(), Clock()
    pinned = (b"p" * 32).hex()
    openssl = ":".join(f"{byte:02X}" for byte in b"o" * 32)
    file.write_text(
        f"cert:web-1 1:1 write\ncert:sha256:{pinned} 1:2 write\ncert:SHA256:{openssl} 1:3 write\n"
        "cert:soon 1:4 write expires=1970-01-01T00:00:10Z\n"
    )
    known = Authenticator([], str(file), clock_s=clock, now_s=now)
    assert known.knows_certificates
    assert known.asks

    async def tenant(one: Certificate, *headers: str) -> Tenant | None:
        return (await known.grant(headers, one)).tenant

    assert await tenant(certificate()) == Tenant(1, 1)
    assert await tenant(certificate(fingerprint=b"p" * 32)) == Tenant(1, 2)  # the closer one
    assert await tenant(certificate("", b"o" * 32)) == Tenant(1, 3)
    assert await tenant(certificate("soon")) == Tenant(1, 4)
    for unknown in (certificate("web-2"), certificate(""), certificate(not_after_s=0.0)):
        with pytest.raises(UnauthenticatedError, match="client certificate"):
            await known.grant([], unknown)
    now.s = 11.0
    with pytest.raises(UnauthenticatedError, match="expired"):
        await known.grant([], certificate("soon"))
    with pytest.raises(UnauthenticatedError, match="not known here"):  # a header wins, even a wrong one
        await known.grant(["Bearer web-1"], certificate())
    file.write_text("cert:web-2 2:1 write\n")
    clock.s = 1.5
    assert await tenant(certificate("web-2")) == Tenant(2, 1)
    with pytest.raises(UnauthenticatedError):
        await known.grant([], certificate())


@pytest.mark.parametrize("secret", ["cert:", "cert:sha256:12", "cert:sha256:" + "zz" * 32])
def test_certificates_that_cannot_be_known(secret: str) -> None:
    with pytest.raises(EntryError, match="cert:") as e:
        parse_file(f"{secret} 1:1 write\n")
    assert "zz" not in str(e.value)


def test_admins_of_one_org_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """They saw the server before there was the right operator."""
    Authenticator(parse_file("a 1:* query,admin\nb *:* admin\nc 1:1 query,operator,admin\n"))
    (record,) = caplog.records
    assert record.getMessage().startswith("event=admin_of_an_org count=1 ")
    caplog.clear()
    Authenticator(parse_file("b *:* admin\n"))
    assert not caplog.records
