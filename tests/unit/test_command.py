"""The command line: the commands it finds, its errors, and that it loads no more than it must."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

import pytest

import meterhouse
from agent.cli.common import address
from agent.config.variables import CONFIG_VARIABLE
from indexer.clickhouse.schema import Layout, statements
from shim.cli.times import duration_s


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)


@pytest.mark.parametrize("command", meterhouse.COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        meterhouse.main([command, "--help"])
    assert e.value.code == 0
    assert f"usage: meterhouse {command}" in capsys.readouterr().out


def test_no_command_prints_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert meterhouse.main([]) == 2
    assert all(command in capsys.readouterr().err for command in ["usage"])


def test_unknown_command_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        meterhouse.main(["nonsense"])
    assert e.value.code == 2
    assert "nonsense" in capsys.readouterr().err


def test_missing_dependency_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(meterhouse.COMMANDS, "up", ("not_there_at_all", "", "all"))
    assert meterhouse.main(["up"]) == 1
    assert "not_there_at_all is not installed" in capsys.readouterr().err
    monkeypatch.setitem(meterhouse.COMMANDS, "up", ("agent.not_there", "", "all"))
    with pytest.raises(ModuleNotFoundError):  # a fault of ours is not dressed up as one of the user's
        meterhouse.main(["up"])


def test_check_config_prints_what_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "meterhouse.toml"
    file.write_text('[agent]\nudp = "127.0.0.1:1"\n[agent.tags]\npod = "web-1"\n[shim]\nlookback_s = 60\n')
    assert meterhouse.main(["check-config", "--config", str(file)]) == 0
    printed = capsys.readouterr().out
    tree = tomllib.loads(printed)
    assert tree["agent"]["udp"] == "127.0.0.1:1"
    assert tree["agent"]["tags"] == {"pod": "web-1"}
    assert tree["shim"] == {"lookback_s": 60}
    for options in ([], ["--all"]):
        assert meterhouse.main(["check-config", "--config", str(file), *options]) == 0
        printed = capsys.readouterr().out
        file.write_text(printed)
        assert meterhouse.main(["check-config", "--config", str(file), *options]) == 0
        assert capsys.readouterr().out == printed
    assert tomllib.loads(printed).keys() == {"agent", "indexer", "log", "shim"}


def test_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "meterhouse.toml"
    file.write_text('[agent]\nudp = "127.0.0.1:1"\n')
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    monkeypatch.setenv("METERHOUSE_AGENT__UDP", "127.0.0.1:2")
    assert meterhouse.main(["check-config"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["agent"]["udp"] == "127.0.0.1:2"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[agent]\nudp = 1\n", "agent.udp"),
        ("[agent]\nnonsense = 1\n", "nonsense"),
        ("[nobody]\n", "nobody"),
        ("[agent\n", "not TOML"),
    ],
)
@pytest.mark.parametrize("command", ["check-config", "agent", "indexer", "shim", "up"])
def test_bad_settings_end_with_2(
    command: str, text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command in ("indexer", "shim") and problem.startswith("agent."):
        text, problem = "[shim]\nlisten = 1\n[indexer]\nlisten = 1\n", ".listen"
    if command in ("indexer", "shim") and problem == "nonsense":
        text = "[shim]\nnonsense = 1\n[indexer]\nnonsense = 1\n"
    file = tmp_path / "meterhouse.toml"
    file.write_text(text)
    assert meterhouse.main([command, "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert problem in said
    lines = said.splitlines()  # one for each problem: the shim checks the indexer's section, too
    assert len(lines) == (2 if command == "shim" and "[indexer]" in text else 1)
    assert all(line.startswith(f"meterhouse {command}: {file}") for line in lines)


def test_unreadable_file_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert meterhouse.main(["check-config", "--config", str(tmp_path / "none.toml")]) == 2
    assert "none.toml" in capsys.readouterr().err


def test_schema_for_one_node_and_for_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert meterhouse.main(["schema"]) == 0
    one = capsys.readouterr().out
    assert "counters_10s" in one
    assert "Replicated" not in one
    assert meterhouse.main(["schema", "--cluster", "main", "--database", "metrics"]) == 0
    cluster = capsys.readouterr().out
    assert "Replicated" in cluster
    assert "Distributed('main', 'metrics'" in cluster


@pytest.mark.parametrize(
    "arguments",
    [["--dsn", "http://x/y"], ["--this-node"], ["apply", "--database", "x"], ["apply", "--this-node"]],
)
def test_options_of_schema_that_do_not_belong_together(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as e:
        meterhouse.main(["schema", *arguments])
    assert e.value.code == 2
    assert "--" in capsys.readouterr().err.splitlines()[-1]


def test_the_tables_of_a_cluster_on_one_node() -> None:
    """The same statements, without the wait for the other nodes."""
    everywhere = [one.text for one in statements(Layout("m", "main"))]
    here = [one.text for one in statements(Layout("m", "main", on_cluster=False))]
    assert here == [one.replace(" ON CLUSTER `main`", "") for one in everywhere]
    assert here != everywhere


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("100ms", 0.1),
        ("1y", 31_536_000),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-5m", "5 m", "5mm", "1h-30m"])
def test_no_duration(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration_s(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("127.0.0.1:8125", ("127.0.0.1", 8125)), ("[::1]:1", ("::1", 1)), ("host:65535", ("host", 65535))],
)
def test_address(text: str, parts: tuple[str, int]) -> None:
    assert address(text) == parts


@pytest.mark.parametrize("text", ["127.0.0.1", "host:", ":", "host:0", "host:65536", "host:x"])
def test_no_address(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        address(text)
