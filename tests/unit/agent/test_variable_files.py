"""Variables that name files with the values of settings: `METERHOUSE_INDEXER__DSN_FILE`."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.common import read_settings
from agent.cli.run import AgentFile
from agent.config.load import ConfigError
from agent.config.variable_files import MAX_FILE_BYTES, with_files
from shim.cli.serve import File


def test_a_file_holds_the_value(tmp_path: Path) -> None:
    dsn = tmp_path / "dsn"
    dsn.write_text("http://u:secret@clickhouse:8123/meterhouse\n")
    settings = read_settings(File, None, {"METERHOUSE_INDEXER__DSN_FILE": str(dsn)})
    assert settings.indexer.dsn == "http://u:secret@clickhouse:8123/meterhouse"


def test_a_setting_of_that_name_is_itself(tmp_path: Path) -> None:
    """`agent.forward.token_file` is a setting: its file is read again when it changes."""
    environ = {"METERHOUSE_AGENT__FORWARD__TOKEN_FILE": str(tmp_path / "token")}
    assert with_files(environ, File) == environ
    assert read_settings(File, None, environ).agent.forward.token_file == str(tmp_path / "token")


def test_other_variables_stay(tmp_path: Path) -> None:
    environ = {"PATH": "/bin", "LOG_FILE": "/x", "METERHOUSE_SHIM__NO_SUCH_FILE": "/x"}
    assert with_files(environ, File) == environ
    with pytest.raises(ConfigError, match="METERHOUSE_SHIM__NO_SUCH_FILE"):
        read_settings(File, None, environ)
    # The agent alone does not know the indexer's settings, and does not read its files.
    read_settings(AgentFile, None, {"METERHOUSE_INDEXER__DSN_FILE": "/no/such/file"})


def test_all_problems_are_told(tmp_path: Path) -> None:
    large, binary = tmp_path / "large", tmp_path / "binary"
    large.write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    binary.write_bytes(b"\xff")
    environ = {
        "METERHOUSE_INDEXER__DSN_FILE": str(tmp_path / "missing"),
        "METERHOUSE_INDEXER__REDIS_URL_FILE": str(large),
        "METERHOUSE_AGENT__FORWARD__TOKEN__FILE": "a value: not a name of a file",
        "METERHOUSE_SHIM__DSN_FILE": str(binary),
        "METERHOUSE_SHIM__LOOKBACK_S": "1",
        "METERHOUSE_SHIM__LOOKBACK_S_FILE": str(binary),
    }
    too_large = f"too large: at most {MAX_FILE_BYTES} bytes are accepted"
    with pytest.raises(ConfigError) as e:
        with_files(environ, File)
    assert str(e.value).splitlines() == [
        f"METERHOUSE_INDEXER__DSN_FILE: {tmp_path}/missing: No such file or directory",
        f"METERHOUSE_INDEXER__REDIS_URL_FILE: {large}: {too_large}",
        f"METERHOUSE_SHIM__DSN_FILE: {binary}: expected UTF-8",
        "METERHOUSE_SHIM__LOOKBACK_S_FILE: METERHOUSE_SHIM__LOOKBACK_S is set, too: expected one of the two",
    ]
