"""The error of a wrong setting is one line: its place, its name, the fault, and the accepted values."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.common import read_settings
from agent.config.load import ConfigError, load
from agent.config.variables import CONFIG_VARIABLE
from shim.cli.serve import File
from tests.support import settings_table


def said_of(toml: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as e:
        load(File, toml, environ, path="m.toml")
    return str(e.value)


@pytest.mark.parametrize(
    ("section", "setting"),
    [
        *(
            ("indexer", s)
            for s in ("connections = 0", "connections = 65", "attempts = 0", "acknowledge_s = nan")
        ),
        *(
            ("indexer", s)
            for s in ("drain_s = -1.0", 'dsn = "ftp://x"', 'dsn = "chdb://"', 'listen = "8126"')
        ),
        *(("indexer.stream", s) for s in ('url = "localhost:6379"', 'tenants = "all"')),
        *(("indexer.kafka", s) for s in ("entries = 0", 'tenants = "all"', 'options = {"acks" = "0"}')),
        *(("indexer", s) for s in ('listen = ":99999"', 'redis_url = "localhost:6379"', 'batching = "both"')),
        *(("indexer.batch", s) for s in ("rows = 0", "bytes = 0", "linger_ms = -1")),
        *(("indexer.journal", s) for s in ("identities = 0", "identity_days = 0", "aside_bytes = -1")),
        *(
            ("indexer.bounds", s)
            for s in ("body_bytes = 0", "queue_bytes = 0", "messages = 0", "future_s = -1")
        ),
        *(("indexer.bounds", s) for s in ("frame_bytes = 0", "cached_strings = 0", "cached_series = 0")),
        *(("indexer.retention", s) for s in ("days_10s = 0", "days_1d = 70000")),
        *(
            ("shim", s)
            for s in ("concurrency = 0", "lookback_s = inf", "lookback_s = nan", "settle_s = -0.1")
        ),
        *(("shim", s) for s in ("timeout_s = 0.0", "max_points = 0", "max_waiting = -1", 'listen = "here"')),
        *(
            ("shim", s)
            for s in ("max_series = 0", "max_samples = 0", "max_form_bytes = 0", 'cors_origin = "("')
        ),
        *(
            ("shim.catalog", s)
            for s in ("cache_series = 0", "cache_selections = -1", "names_max_age_s = -1.0")
        ),
        *(("shim.cache", s) for s in ("max_bytes = -1", "fill_after = 0")),
        *(
            ("shim.alertmanager", s)
            for s in ("max_batch = 0", 'urls = ["here:9093"]', 'dns = ["here"]', 'scheme = "ftp"')
        ),
        *(("shim.alert_webhook", s) for s in ('url = "here"', 'secret = "short"')),
        *(("shim.webhooks", s) for s in ('allowed_hosts = ["http://a"]', "timeout_s = 0.0")),
        *(("shim", s) for s in ('external_url = "here"',)),
        *(("shim.tenancy", s) for s in ('mode = "token"', "org_id = 0")),
    ],
)
def test_file_line_and_key_are_named(section: str, setting: str) -> None:
    key = setting.split(" ")[0]
    said = said_of(f"[agent]\n\n[{section}]\n{setting}\n")
    assert said.startswith("m.toml:4: "), said
    assert key in said
    assert f": {section}" in said


@pytest.mark.parametrize("setting", [name for name, *_ in settings_table.rows()])
def test_every_refusal_says_what_is_accepted(setting: str) -> None:
    section, _, key = setting.rpartition(".")
    refused = []
    for value in ("12", "-1", '"wrong"', "true", "[[1]]"):
        try:
            load(File, f"[{section}]\n{key} = {value}\n", path="m.toml")
        except ConfigError as e:
            refused.append(str(e))
    assert len(refused) >= 2
    for said in refused:
        assert said.startswith("m.toml:"), said
        assert key in said, said
        assert "expected " in said.lower(), said


def test_the_value_is_shown_unless_it_may_be_a_secret() -> None:
    assert said_of("[shim]\nconcurrency = -7") == (
        "m.toml:2: shim.concurrency = -7: expected an integer >= 1"
    )
    assert "hush" not in said_of('[indexer]\ndsn = "htp://me:hush@x"')
    assert "hush" not in said_of('[indexer]\ntokens = "hush"')
    assert len(said_of(f'[shim]\nconcurrency = "{"x" * 1000}"')) < 250


@pytest.mark.parametrize("name", ["backfill/x", "messages/1:1/x", "up/x"])
def test_an_agent_is_not_called_like_what_makes_frames_of_its_own(name: str) -> None:
    """The indexer would refuse all its frames."""
    said = said_of(f'[agent]\nname = "{name}"')
    assert said.startswith("m.toml:"), said
    assert f"name begins with '{name.partition('/')[0]}/', which is reserved" in said


def test_a_variable_is_named_and_not_the_file() -> None:
    file = "[agent.flush]\ndelay_ms = 1\n[shim]\nconcurrency = 2"
    assert said_of(file, METERHOUSE_AGENT__FLUSH__DELAY_MS="soon") == (
        'METERHOUSE_AGENT__FLUSH__DELAY_MS: agent.flush.delay_ms = "soon": expected an integer, got a string'
    )
    assert said_of(file, METERHOUSE_SHIM__NOPE="1").startswith(
        'METERHOUSE_SHIM__NOPE: shim.nope = "1": no such setting'
    )
    assert said_of(file, METERHOUSE_AGENT__FLUSH="5").startswith(
        'METERHOUSE_AGENT__FLUSH: agent.flush = "5": expected a table'
    )
    assert said_of("[shim]\nconcurrency = 'x'", METERHOUSE_AGENT__UDP="").startswith(
        'm.toml:2: shim.concurrency = "x": expected an integer'
    )


def test_text_for_a_number_is_wrong_in_the_file_and_right_in_a_variable() -> None:
    assert load(File, "", {"METERHOUSE_SHIM__CONCURRENCY": "7"}).shim.concurrency == 7
    environ = {"METERHOUSE_AGENT__TAGS__POD": "web", "METERHOUSE_INDEXER__TOKENS": '["a"]'}
    assert said_of('[shim]\nconcurrency = "7"', **environ).endswith("expected an integer, got a string")


def test_tokens_may_come_from_the_environment_alone() -> None:
    """The mode is in the file, the secret is not: the file need not hold by itself."""
    tokens = {"METERHOUSE_SHIM__TENANCY__TOKENS": '{"t": "1:2"}'}
    tenancy = load(File, '[shim.tenancy]\nmode = "token"', tokens).shim.tenancy
    assert (tenancy.mode, tenancy.tokens) == ("token", {"t": "1:2"})


def test_a_file_that_is_no_toml_or_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    bad = tmp_path / "bad.toml"
    bad.write_text("[agent\n")
    with pytest.raises(ConfigError, match=rf"^{bad}: not TOML: .*line 1,"):
        read_settings(File, str(bad))
    bad.write_text("[shim]\nconcurrency = 0\n")
    with pytest.raises(ConfigError, match=rf"^{bad}:2: "):
        read_settings(File, str(bad))
    with pytest.raises(ConfigError, match=r"nowhere: No such file or directory$"):
        read_settings(File, str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[indexer]\nattempts = " + "9" * 5_000, "m.toml: not TOML"),
        ("[indexer]\nattempts = " + "9" * 4_000, "m.toml: indexer: attempts: integer out of range"),
        ("[indexer]\nattempts = " + "[" * 100_000, "m.toml: nested too deep: at most 16 levels are accepted"),
        ("[indexer]\nattempts = 1e400", "m.toml:2: indexer.attempts = "),
    ],
)
def test_a_file_that_no_reader_takes(toml: str, said: str) -> None:
    assert said_of(toml).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\udcff", "METERHOUSE_INDEXER__ATTEMPTS: expected UTF-8"),
        ('["\udcff"]', "METERHOUSE_INDEXER__ATTEMPTS: expected UTF-8"),
        ("[" * 100_000, "METERHOUSE_INDEXER__ATTEMPTS: JSON nested too deep: at most 16 levels are accepted"),
        ("9" * 5_000, "METERHOUSE_INDEXER__ATTEMPTS: indexer.attempts = "),
        ("\u0663", "METERHOUSE_INDEXER__ATTEMPTS: indexer.attempts = "),
    ],
)
def test_an_environment_that_no_reader_takes(text: str, said: str) -> None:
    assert said_of("", METERHOUSE_INDEXER__ATTEMPTS=text).startswith(said)


def test_a_variable_whose_name_is_not_text() -> None:
    assert said_of("", **{"METERHOUSE_\udcff": "1"}) == "METERHOUSE_\\udcff: expected UTF-8"


@pytest.mark.parametrize("section", ["indexer", "shim"])
@pytest.mark.parametrize(
    ("dsn", "named"),
    [
        ("http://u:p@h:8123/db?connect_timeot=3&compress=lz4", "connect_timeot"),
        ("http://h/db?database=x", "database"),
        ("https://h/db?settings=", "settings"),
        ("chdb:///./data?compress=lz4", "compress"),
    ],
)
def test_unknown_parameters_of_a_dsn(section: str, dsn: str, named: str) -> None:
    said = said_of(f'[{section}]\ndsn = "{dsn}"\n')
    assert f"dsn has unknown parameters ({named}): expected " in said
    assert "u:p" not in said


def test_known_parameters_of_a_dsn() -> None:
    for dsn in ("https://u:p@h/db?ca_cert=/ca.pem&verify=true&connect_timeout=3", "chdb:///d?database=x"):
        load(File, f'[indexer]\ndsn = "{dsn}"\n')
    assert "pass" not in said_of('[indexer]\ndsn = "http://h/db?pass@word=1"\n')
