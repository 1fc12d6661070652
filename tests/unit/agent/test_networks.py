"""Networks that lines may come from: v4, v6, both in one list; and settings that are none."""

from __future__ import annotations

import pytest

from agent.config.load import ConfigError, load
from agent.config.networks import MAX_NETWORKS, Networks
from agent.settings import AgentSettings

BOTH = Networks(["10.0.0.0/8", "192.0.2.7", "2001:db8::/33", "::1"])


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        *(("10.0.0.0", True), ("10.255.255.255", True), ("11.0.0.0", False), ("9.255.255.255", False)),
        *(("192.0.2.7", True), ("192.0.2.6", False), ("::ffff:10.1.2.3", True), ("::ffff:11.0.0.1", False)),
        *(("2001:db8::1", True), ("2001:db8:8000::1", False), ("2001:db8:7fff:ffff::", True)),
        *(("::1", True), ("::2", False), ("::10.0.0.1", False), ("fe80::1%eth0", False)),
    ],
)
def test_addresses(host: str, allowed: bool) -> None:
    assert BOTH.allow(host) is allowed
    assert BOTH.allow(host) is allowed, "remembered"


def test_everything_and_nothing() -> None:
    assert Networks(["0.0.0.0/0"]).allow("8.8.8.8")
    assert not Networks(["0.0.0.0/0"]).allow("2001:db8::1")
    assert Networks(["::/0"]).allow("8.8.8.8"), "::ffff:8.8.8.8"
    assert Networks(["fe80::/10"]).allow("fe80::1%eth0")


def test_packed() -> None:
    assert Networks(["10.0.0.0/8"]).packed == bytes(10) + b"\xff\xff\x0a" + bytes(3) + b"\xff" * 13 + bytes(3)


def test_many_senders_take_no_memory_for_ever() -> None:
    networks = Networks(["10.0.0.0/8"])
    for number in range(5_000):
        assert not networks.allow(f"11.0.{number // 256}.{number % 256}")
    assert len(networks._known) <= 4_096


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "x", "10.0.0.0/8 ", "2001:db8::/129"])
def test_settings_that_are_no_network(text: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed_sources: .* is not a network .*: expected 10\.0\.0\.0/8"):
        load(AgentSettings, f'[receive]\nallowed_sources = ["10.0.0.0/8", "{text}"]')


def test_too_many() -> None:
    with pytest.raises(ValueError, match="at most 256"):
        Networks(["10.0.0.1"] * (MAX_NETWORKS + 1))
