"""Secrets in settings are hidden wherever they are shown, and no setting of that kind is forgotten."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agent.cli.check_config import check_config
from agent.cli.common import read_settings
from agent.config.load import ConfigError, load
from agent.config.secrets import masked, masked_url, secrets_in
from indexer.settings import Settings
from indexer.settings import check_dsn as check
from meterhouse import SECTIONS
from shim.cli.serve import File
from tests.support import settings_table

SETTINGS = """
[agent.forward]
token = "SECRET-1"
url = "https://user:SECRET-2@host"
[indexer]
dsn = "http://ch:SECRET-3@host:8123/db"
redis_url = "rediss://:SECRET-4@host/0"
tokens = ["SECRET-5"]
[shim]
dsn = "http://ch:SECRET-3@host:8123/db?access_token=SECRET-6"
[shim.tenancy]
mode = "token"
tokens = { "SECRET-7" = "1:1" }
"""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:p@h:1/db", "http://u:***@h:1/db"),
        ("redis://:p@h", "redis://:***@h"),
        ("http://u:p/s@s#w?@h:1/db", "http://u:***@h:1/db"),
        ("unix:///run/redis.sock?db=1&password=p&x=1", "unix:///run/redis.sock?db=1&password=***&x=1"),
        ("no answer from http://u:p@h:1/db: refused", "no answer from http://u:***@h:1/db: refused"),
        ("chdb:///./data/chdb", "chdb:///./data/chdb"),
        ("http://u@h:1", "http://u@h:1"),
        ("http://127.0.0.1:8126", "http://127.0.0.1:8126"),
    ],
)
def test_urls(text: str, shown: str) -> None:
    assert masked_url(text) == shown


@pytest.mark.parametrize("piece", ["a-", "a://b:", "a://", "?token=", "://:@", "a://b:c@ "])
def test_a_text_of_a_megabyte_costs_a_moment(piece: str) -> None:
    """A look at the rest of the text from each place of it would take minutes."""
    assert masked_url(piece * (1_000_000 // len(piece)) + " @")


def test_check_config_shows_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("METERHOUSE_CONFIG", raising=False)
    file = tmp_path / "settings.toml"
    file.write_text(SETTINGS)
    file.chmod(0o644)
    for options in ((), ("--all",), ("--json",)):
        assert check_config(["--config", str(file), *options], SECTIONS) == 0
        said = capsys.readouterr()
        assert "SECRET" not in said.out + said.err
        assert "***" in said.out
        assert "warning: " in said.err
        assert "agent.forward.token" in said.err
        assert "shim.tenancy.tokens" in said.err
    assert check_config(["--config", str(file), "--secrets"], SECTIONS) == 0
    out = capsys.readouterr().out
    assert all(f"SECRET-{n}" in out for n in range(1, 8))
    file.chmod(0o640)
    read_settings(File, str(file))
    assert capsys.readouterr().err == ""


def test_a_file_without_secrets_may_be_read_by_everybody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[indexer]\ndsn = "chdb:///./data/chdb"\ntokens = []\n')
    file.chmod(0o644)
    read_settings(File, str(file))
    assert capsys.readouterr().err == ""


def test_every_setting_of_that_kind_is_hidden() -> None:
    """A setting that is called after a secret is hidden, unless it is the path of a file."""
    for name, _, _ in settings_table.rows():
        last = name.rpartition(".")[2]
        if any(word in last for word in ("token", "secret", "password")) and not last.endswith("_file"):
            assert masked({last: "SECRET"}) == {last: "***"}, name
        assert masked({last: "http://u:SECRET@h"}) != {last: "http://u:SECRET@h"}, name


def test_which_settings_hold_secrets() -> None:
    assert secrets_in(msgspec.to_builtins(File())) == []
    assert secrets_in(msgspec.to_builtins(load(File, SETTINGS))) == [
        "agent.forward.url", "agent.forward.token", "indexer.dsn", "indexer.redis_url", "indexer.tokens",
        "shim.dsn", "shim.tenancy.tokens",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "toml",
    [
        '[indexer]\ndsn = "http://u:SECRET/x@h:8123/db"',
        '[indexer]\ndsn = "ftp://u:SECRET@h"',
        '[indexer]\nredis_url = "redis://:SECRET/x@h"',
        '[indexer]\nredis_url = "http://:SECRET@h"',
        '[indexer]\ntokens = {"1:1" = "SECRET"}',
        '[indexer]\ntokens = {SECRET = "1"}',
        '[indexer]\ntokens = ["SECRET", ""]',
        '[indexer]\ntokens = ["SECRET", 1]',
        "[indexer]\ntokens = {SECRET = 1}",
        '[shim]\ndsn = "SECRET"',
        '[shim.tenancy]\ntokens = {SECRET = "1"}',
        '[agent.forward]\ntoken = "SECRET\\n"',
        '[agent.forward]\ntoken = ["SECRET"]',
    ],
)
def test_what_is_wrong_with_a_secret_is_said_without_it(toml: str) -> None:
    with pytest.raises(ConfigError) as e:
        load(File, toml)
    assert "SECRET" not in str(e.value)


def test_a_dsn_with_a_password_that_is_written_right() -> None:
    check("http://u:a%2Fb%40c@h:8123/db")
    assert Settings(dsn="http://u:a%2Fb%40c@h:8123/db").dsn.startswith("http")
