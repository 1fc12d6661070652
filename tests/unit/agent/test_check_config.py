"""`meterhouse check-config`: its output, the faults it reports and where, its exit codes."""

from __future__ import annotations

import io
import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.cli import check_config as module
from agent.cli.check_config import check_config
from agent.config.variables import CONFIG_VARIABLE
from tests.support.certificates import Authority

MAPPING = """defaults: {ttl: 1m}
mappings:
- {match: shop.*.hits, name: hits, labels: {shop: $1}}
- {match: noise.*, action: drop}
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in a folder of its own; return exit code, output and errors."""
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)

    def run(*argv: object, sections: Any = None) -> tuple[int, str, str]:
        code = check_config([str(arg) for arg in argv], sections)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "mapping.yml").write_text(MAPPING)
    file = tmp_path / "meterhouse.toml"
    file.write_text(f'[agent]\nmapping = "{tmp_path}/mapping.yml"\n[agent.tags]\npod = "p"\n')
    return file


def test_only_what_differs_is_printed(run: Run, config: Path) -> None:
    code, out, _ = run("--config", config)
    assert code == 0
    assert tomllib.loads(out) == {"agent": {"mapping": f"{config.parent}/mapping.yml", "tags": {"pod": "p"}}}
    assert f"# mapping {config.parent}/mapping.yml: 2 entries\n# line 1: defaults: ttl has no effect" in out
    assert run() == (0, "# all settings are at their defaults\n", "")


def test_all_settings_are_printed_when_asked_for(run: Run, config: Path) -> None:
    code, out, _ = run("--config", config, "--all")
    tree = tomllib.loads(out)["agent"]
    assert code == 0
    assert tree["udp"] == "127.0.0.1:8125"
    assert tree["tags"] == {"pod": "p"}


def test_lines_are_explained(run: Run, config: Path) -> None:
    code, out, _ = run(
        "--config", config, "--at", 1_700_000_005, "--line", "shop.a.hits:1|c", "--line", "noise.x:1|c\nx:1|g"
    )
    assert code == 0
    assert 'series    counter hits{pod="p",shop="a"}' in out
    assert "(1700000000)" in out
    assert "mapping   2 (noise.*), line 4" in out
    assert 'series    gauge x{pod="p"}' in out


def test_a_refused_line_ends_with_1(run: Run) -> None:
    code, out, _ = run("--line", "x:1|c", "--line", "x:1")
    assert code == 1
    assert "refused   no_type: " in out


def test_lines_of_a_file_and_of_standard_input(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"x:1|c\r\n\xff:1|c\n")
    code, out, _ = run("--lines", file, "--json")
    assert code == 1
    assert [line["reason"] for line in json.loads(out)["lines"]] == ["", "invalid_utf8"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"y:1|c")))
    code, out, _ = run("--lines", "-", "--json")
    assert (code, json.loads(out)["lines"][0]["name"]) == (0, "y")
    assert run("--lines", tmp_path / "none")[0] == 2
    monkeypatch.setattr(module, "MAX_LINES", 1)
    code, _, err = run("--lines", file)
    assert code == 2
    assert "too many lines: at most 1 are accepted" in err


def test_json_has_it_all(run: Run, config: Path) -> None:
    code, out, _ = run("--config", config, "--json", "--at", 1_700_000_005, "--line", "shop.a.hits:1|c|@0.5")
    assert code == 0
    assert json.loads(out) == {
        "settings": {"agent": {"mapping": f"{config.parent}/mapping.yml", "tags": {"pod": "p"}}},
        "unchecked": [],
        "mapping": {
            "file": f"{config.parent}/mapping.yml",
            "rules": 2,
            "notes": [
                {
                    "line": 1,
                    "text": "defaults: ttl has no effect: series end with their data,"
                    " except in agent.exposition",
                }
            ],
        },
        "lines": [
            {
                "line": "shop.a.hits:1|c|@0.5",
                "outcome": "taken",
                "reason": "",
                "because": "",
                "type": "counter",
                "name": "hits",
                "tags": {"pod": "p", "shop": "a"},
                "values": [1.0],
                "deltas": [],
                "sign": "",
                "member": "",
                "weight": 2.0,
                "scale": 1.0,
                "divisor": 1.0,
                "ignored": [],
                "mapping": {"number": 1, "line": 3, "match": "shop.*.hits", "why": ""},
                "bucket": 1_700_000_000,
                "moved": "",
                "note": "",
            }
        ],
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[agent]\nudp = 1\n", ":2: agent.udp = 1: expected a string, got an integer"),
        (
            "\n[agent]\n\n[agent.lines]\n\nmax_tags = 'a'\n",
            ':6: agent.lines.max_tags = "a": expected an integer',
        ),
        ("[agent]\nlines.max_tags = 'a'\n", ":2: agent.lines.max_tags"),
        ("[agent]\nlines = {max_tags = 'a'}\n", ":2: agent.lines.max_tags"),
        ("[agent]\nudp = ''\nnonsense = 1\n", ":3: agent.nonsense = 1: no such setting"),
        ("[agent.nonsense]\nx = 1\n", ":1: agent.nonsense: no such setting"),
        ("\n[nobody]\n", ":2: nobody: no such setting"),
        ("[agent]\n[agent.tags]\npod = 1\n", ":2: agent.tags[...]: expected a string"),
        ("[agent.lines]\nname_tags = ['graphite']\n", ":2: agent.lines.name_tags"),
        ("[agent]\nudp = 'localhost'\n", ":2: agent.udp = 'localhost': expected host:port"),
        (
            "[agent]\nops = 'a:70000'\n",
            ":2: agent.ops = 'a:70000': expected host:port with a port from 0 to 65535",
        ),
        (
            "log.levels = {indexer = 'loud'}\n",
            ':1: log.levels[...]: expected "auto" or "debug" or "error" or "info" or "warning"',
        ),
        (
            "log.levels = {aiohttp = 'info'}\n",
            ": log.levels: a name in it: expected one matching regex '^(agent|indexer|shim)",
        ),
        ("[agent.relay]\nevents = 'x'\n", ":2: agent.relay.events = 'x': expected host:port"),
        (
            "[agent.forward]\nurl = 'localhost:1'\n",
            ":2: agent.forward.url = 'localhost:1': expected http://host:port",
        ),
        ("[agent\n", "not TOML: "),
        ("[agent]\nmapping = '/none/there.yml'\n", "/none/there.yml: No such file"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(run: Run, tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "meterhouse.toml"
    file.write_text(text)
    code, out, err = run("--config", file)
    assert (code, out) == (2, "")
    assert problem in err
    assert err.count("\n") == 1
    code, out, err = run("--config", file, "--json")
    assert code == 2
    assert json.loads(out)["error"] in err


def test_what_is_wrong_with_a_mapping(run: Run, config: Path) -> None:
    (config.parent / "mapping.yml").write_text("mappings:\n- {match: a, nam: b}\n")
    code, _, err = run("--config", config)
    assert code == 2
    assert f"{config.parent}/mapping.yml:2: mapping 1: unknown key 'nam': expected one of " in err


def test_addresses_may_be_off_or_paths(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "meterhouse.toml"
    file.write_text("[agent]\nudp = ''\nops = '[::1]:0'\n[agent.relay]\naddress = '/run/statsd.sock'\n")
    assert run("--config", file)[0] == 0


def test_wrong_environment(run: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERHOUSE_AGENT__CORE", "rust")
    code, _, err = run("--config", config)
    assert code == 2
    assert 'agent.core = "rust": expected "auto" or "native" or "python"' in err


def test_sections_of_packages_that_are_not_there_are_not_checked(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "meterhouse.toml"
    file.write_text("[other]\nx = 1\n[agent]\norg_id = 2\n")
    sections = {"other": ("not_there_at_all", "Settings")}
    code, out, _ = run("--config", file, sections=sections)
    assert code == 0
    assert "# [other] is not checked: its package is not installed" in out
    code, out, _ = run("--config", file, "--json", sections=sections)
    assert json.loads(out)["unchecked"] == ["other"]
    assert run("--config", file)[0] == 2


def test_sections_of_packages_that_are_there_are_checked(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "meterhouse.toml"
    sections = {"again": ("agent.settings", "FlushSettings")}
    file.write_text("[again]\ndelay_ms = 7\n")
    assert "[again]\ndelay_ms = 7" in run("--config", file, sections=sections)[1]
    file.write_text("[again]\ndelay_ms = 'x'\n")
    code, _, err = run("--config", file, sections=sections)
    assert code == 2
    assert ": expected an integer" in err


SECTIONS = {"indexer": ("indexer.settings", "Settings"), "shim": ("shim.settings", "ShimSettings")}


@pytest.mark.parametrize(
    ("text", "setting", "path"),
    [
        ("[indexer.tls]\ncert = '{f}/none'\nkey = '{f}/good.key'", "indexer.tls.cert", "none"),
        ("[shim.tls]\ncert = '{f}/good.pem'\nkey = '{f}/none'", "shim.tls.key", "none"),
        ("[shim.tls]\n{good}\nclient_ca = '{f}/text'", "shim.tls.client_ca", "text"),
        ("[agent.tcp_tls]\ncert = '{f}/text'\nkey = '{f}/good.key'", "agent.tcp_tls.cert", "text"),
        ("[agent.ops_tls]\ncert = '{f}/good.pem'\nkey = '{f}/text'", "agent.ops_tls.key", "text"),
        ("[agent.forward]\ntls = {{ca = '{f}/none'}}", "agent.forward.tls.ca", "none"),
        ("[agent.forward]\ntoken_file = '{f}/none'", "agent.forward.token_file", "none"),
        ("[indexer]\ntokens_file = '{f}/none'", "indexer.tokens_file", "none"),
        ("[shim.tenancy]\ntokens_file = '{f}/none'", "shim.tenancy.tokens_file", "none"),
        ("[shim.indexers]\nurls = ['https://x']\ntls = {{ca = '{f}/text'}}", "shim.indexers.tls.ca", "text"),
    ],
)
def test_files_that_settings_name_are_opened(
    run: Run, tmp_path: Path, text: str, setting: str, path: str
) -> None:
    pair = Authority(tmp_path).issue("good")
    (tmp_path / "text").write_text("no certificate")
    Path(pair.cert).rename(tmp_path / "good.pem")
    Path(pair.key).rename(tmp_path / "good.key")
    file = tmp_path / "meterhouse.toml"
    good = f"cert = '{tmp_path}/good.pem'\nkey = '{tmp_path}/good.key'"
    file.write_text(text.format(f=tmp_path, good=good))
    code, _, error = run("--config", file, sections=SECTIONS)
    assert (code, f"{setting} = '{tmp_path}/{path}'" in error) == (2, True), error
    assert "expected" in error


def test_files_that_can_be_used_are_right(run: Run, tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    pair = ca.issue("good")
    file = tmp_path / "meterhouse.toml"
    file.write_text(
        f"[indexer.tls]\ncert = {pair.cert!r}\nkey = {pair.key!r}\nclient_ca = {ca.file!r}\n"
        f"[agent.forward]\nurl = 'https://x'\ntls = {{ca = {ca.file!r}}}\n"
    )
    assert run("--config", file, sections=SECTIONS)[0] == 0
