"""Which environment variables are settings, and that all problems of a file are found at once."""

from __future__ import annotations

import pytest

import page_build
from agent.cli.run import AgentFile
from agent.config.load import ConfigError, load
from shim.cli.serve import File


def said_of(toml: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as e:
        load(File, toml, environ, path="m.toml")
    return str(e.value).splitlines()


#: Variables that Kubernetes sets in each pod of a namespace with the Services `meterhouse` and
#: `meterhouse-agent`, each with a named port.
SERVICE_LINKS = {
    "METERHOUSE_SERVICE_HOST": "10.96.0.17",
    "METERHOUSE_SERVICE_PORT": "9090",
    "METERHOUSE_SERVICE_PORT_HTTP_API": "9090",
    "METERHOUSE_PORT": "tcp://10.96.0.17:9090",
    "METERHOUSE_PORT_9090_TCP": "tcp://10.96.0.17:9090",
    "METERHOUSE_PORT_9090_TCP_PROTO": "tcp",
    "METERHOUSE_PORT_9090_TCP_PORT": "9090",
    "METERHOUSE_PORT_9090_TCP_ADDR": "10.96.0.17",
    "METERHOUSE_AGENT_SERVICE_HOST": "10.96.0.18",
    "METERHOUSE_AGENT_SERVICE_PORT_STATSD": "8125",
    "METERHOUSE_AGENT_PORT": "udp://10.96.0.18:8125",
    "METERHOUSE_AGENT_PORT_8125_UDP": "udp://10.96.0.18:8125",
    "METERHOUSE_AGENT_PORT_8125_UDP_ADDR": "10.96.0.18",
}


@pytest.mark.parametrize("file", [File, AgentFile])
def test_service_links_of_kubernetes_are_ignored(file: type[File | AgentFile]) -> None:
    assert load(file, "", SERVICE_LINKS) == file()
    environ = {**SERVICE_LINKS, "METERHOUSE_CONFIG": "m.toml", "METERHOUSE_AGENT__ORG_ID": "7"}
    assert load(file, "", environ).agent.org_id == 7


def test_a_variable_of_the_installation_is_ignored() -> None:
    """`METERHOUSE_PAGE=0 make run` installs and starts."""
    assert load(File, "", {page_build.OFF: "0"}) == File()


def test_a_section_may_be_one_variable() -> None:
    assert load(File, "", {"METERHOUSE_AGENT": '{"org_id": 7}'}).agent.org_id == 7


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("METERHOUSE_AGENT_UDP", "did you mean METERHOUSE_AGENT__UDP?"),
        ("METERHOUSE_AGENT_FLUSH_DELAY_MS", "did you mean METERHOUSE_AGENT__FLUSH__DELAY_MS?"),
        ("METERHOUSE_CONFG", "did you mean METERHOUSE_CONFIG?"),
        ("METERHOUSE_SHIM_LISTN", "did you mean METERHOUSE_SHIM__LISTEN?"),
        ("METERHOUSE_QQQQ", "METERHOUSE_SECTION__NAME is accepted"),
        ("METERHOUSE_", "METERHOUSE_SECTION__NAME is accepted"),
    ],
)
def test_other_names_are_refused_with_a_hint(name: str, hint: str) -> None:
    assert said_of("", **{name: "1"}) == [f"{name}: not a setting: {hint}"]


@pytest.mark.parametrize(
    ("toml", "hint"),
    [
        ("[shim]\nconcurency = 3", "did you mean `concurrency`?"),
        ("[shimm]\nconcurrency = 3", "did you mean `shim`?"),
        ("[agent]\nidentity_days = 3", "did you mean `indexer.journal.identity_days`?"),
        ("[agent.flush]\nqqqq = 3", "expected delay_ms or "),
    ],
)
def test_an_unknown_setting_of_a_file_has_a_hint(toml: str, hint: str) -> None:
    (said,) = said_of(toml)
    assert said.startswith("m.toml:")
    assert hint in said


def test_all_problems_of_a_file_and_the_environment_are_named() -> None:
    toml = """\
[agent]
org_id = "one"
nope = 1

[agent.flush]
delay_ms = -5

[shim]
concurrency = 0
listen = "here"

[shim.tenancy]
mode = "tokens"
"""
    said = said_of(toml, METERHOUSE_INDEXER__ATTEMPTS="many", METERHOUSE_INDEXER_LISTEN=":1")
    starts = [line.partition(" ")[0] for line in said]
    assert sorted(starts) == [
        "METERHOUSE_INDEXER_LISTEN:", "METERHOUSE_INDEXER__ATTEMPTS:",
        "m.toml:10:", "m.toml:13:", "m.toml:2:", "m.toml:3:", "m.toml:6:", "m.toml:9:",
    ]  # fmt: skip


def test_a_check_that_may_fail_for_a_value_left_out_is_not_named() -> None:
    """The mode needs tokens, and there are some, of the wrong kind."""
    (said,) = said_of('[shim.tenancy]\nmode = "token"\ntokens = 5')
    assert said == "m.toml:3: shim.tenancy.tokens: expected a table, got an integer"


def test_problems_are_bounded() -> None:
    assert len(said_of("[shim]\n" + "\n".join(f"x{n} = 1" for n in range(1_000)))) == 20


@pytest.mark.parametrize("address", ["[::1]:9090", "[::]:0", "[fe80::1%eth0]:9090", "[::ffff:10.0.0.1]:80"])
def test_an_ipv6_address_is_no_list(address: str) -> None:
    assert load(File, "", {"METERHOUSE_SHIM__LISTEN": address}).shim.listen == address
    tokens = {
        "METERHOUSE_INDEXER__TOKENS": '["a:b"]',
        "METERHOUSE_AGENT__RECEIVE__ALLOWED_SOURCES": '["::1"]',
    }
    assert load(File, "", tokens).agent.receive.allowed_sources == ["::1"]
