"""Which requests of web pages may change something."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from indexer.http.web_pages import WebPageRules, is_json

LOCAL = "localhost:8126"


def refused(host: str = "127.0.0.1", allowed: tuple[str, ...] = (), **headers: str | None) -> bool:
    given = CIMultiDict({"Host": LOCAL})
    for name, value in headers.items():
        given.popall(name.replace("_", "-"), None)
        if value is not None:
            given[name.replace("_", "-")] = value
    return WebPageRules(host, allowed).refusal(given) is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.8.8", "", "0.0.0.0", "10.0.0.1"])
@pytest.mark.parametrize("said", [None, "whatever.example", LOCAL])
def test_a_client_that_is_not_a_browser_writes_everywhere(host: str, said: str | None) -> None:
    assert not refused(host, Host=said)
    assert not refused(host, Host=said, Sec_Fetch_Site="none")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "file://", "http://[", "http://localhost.evil.example"]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])
def test_a_page_of_another_host_does_not_write(host: str, origin: str) -> None:
    assert refused(host, Origin=origin)
    assert refused(host, Origin=origin, Sec_Fetch_Site="cross-site")


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "\ufffd"])
def test_a_browser_that_says_nothing_but_that_it_is_another_site(site: str) -> None:
    assert refused(Sec_Fetch_Site=site)


def test_dns_rebinding() -> None:
    """To the browser it is one origin: evil.example:8126, whose address has become 127.0.0.1."""
    evil = "evil.example:8126"
    assert refused(Host=evil, Origin=f"http://{evil}", Sec_Fetch_Site="same-origin")
    assert refused(Host=evil, Sec_Fetch_Site="same-origin")
    assert refused(Host=None, Origin=f"http://{evil}")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (LOCAL, "http://localhost:3000"),
        ("127.0.0.1:8126", "http://127.0.0.1:8126"),
        ("[::1]:8126", "http://[::1]:3000"),
        ("app.localhost:8126", "http://app.localhost"),
        ("LOCALHOST.:8126", "http://LocalHost:1"),
    ],
)
def test_pages_of_this_machine_write(host: str, origin: str) -> None:
    assert not refused(Host=host, Origin=origin)
    assert not refused(Host=host, Sec_Fetch_Site="same-origin")


def test_allowed_hosts() -> None:
    both = {"Host": "metrics.example:80", "Origin": "https://grafana.example"}
    assert refused(allowed=("metrics.example",), **both)
    assert refused(allowed=("grafana.example",), **both)
    assert not refused(allowed=("metrics.example", "Grafana.Example"), **both)
    assert refused("0.0.0.0", ("metrics.example",), Host="evil.example", Origin="http://evil.example")


def test_behind_a_name_of_its_own_pages_of_that_name_write() -> None:
    assert not refused("0.0.0.0", Host="Metrics.example:80", Origin="http://metrics.example:80")
    assert refused("0.0.0.0", Host="metrics.example:80", Origin="http://metrics.example:81")


def test_headers_given_twice() -> None:
    twice = CIMultiDict([("Host", LOCAL), ("Origin", "http://localhost"), ("Origin", "http://evil.example")])
    assert WebPageRules("::1", ()).refusal(twice)
    twice = CIMultiDict([("Host", LOCAL), ("Host", "evil.example"), ("Origin", "http://localhost")])
    assert WebPageRules("::1", ()).refusal(twice)


@pytest.mark.parametrize(
    ("given", "json"),
    [
        (["application/json"], True),
        (["Application/JSON; charset=utf-8"], True),
        ([], False),
        (["text/plain"], False),
        (["application/x-www-form-urlencoded"], False),
        (["text/plain; application/json"], False),
        (["application/json", "text/plain"], False),
    ],
)
def test_is_json(given: list[str], json: bool) -> None:
    assert is_json(CIMultiDict([("Content-Type", value) for value in given])) is json
