"""Which URLs of tenants are allowed."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from shim.model.allowed_hosts import AllowedHosts, is_public
from shim.model.errors import BadData


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        (["hooks.example.com"], "https://hooks.example.com/a?b=c"),
        (["hooks.example.com"], "http://HOOKS.example.com./"),
        (["hooks.example.com:8443"], "https://hooks.example.com:8443/"),
        (["10.0.0.7:*"], "http://10.0.0.7:9999/"),
        (["[fd00::7]:80"], "http://[fd00::7]/"),
        (["*.example.com"], "https://a.b.example.com/"),
        (["*"], "https://8.8.8.8/"),
        (["*", "127.0.0.1"], "http://127.0.0.1/"),
    ],
)
def test_allowed(entries: list[str], url: str) -> None:
    AllowedHosts(entries).check(url)


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ([], "https://hooks.example.com/"),
        (["hooks.example.com"], "https://hooks.example.com:8443/"),
        (["hooks.example.com"], "http://hooks.example.com:443/"),
        (["hooks.example.com"], "https://hooks.example.com.evil.org/"),
        (["*.example.com"], "https://example.com/"),
        (["*.example.com"], "https://badexample.com/"),
        (["*"], "https://8.8.8.8:8443/"),
        (["*"], "http://127.0.0.1/"),
        (["*"], "http://[::1]/"),
        (["*"], "http://[::ffff:10.0.0.1]/"),
        (["*"], "http://169.254.169.254/latest/meta-data/"),
        (["*"], "http://169.254.169.254./"),
        (["*:*"], "http://10.0.0.1:6379/"),
        (["*"], "ftp://example.com/"),
        (["*"], "file:///etc/passwd"),
        (["*"], "//example.com/"),
        (["*"], "http://user:password@example.com/"),
        (["*"], "http://example.com\\@localhost/"),
        (["*"], "http://example.com\r\nHost: a/"),
        (["*"], "http://exa%6dple.com/"),
        (["*"], "http://[fe80::1%25eth0]/"),
        (["*"], "http://example.com:0/"),
        (["*"], "http://example.com:99999/"),
        (["*"], f"http://example.com/{'a' * 2048}"),
    ],
)
def test_refused(entries: list[str], url: str) -> None:
    with pytest.raises(BadData, match=r"^url: .*expected"):
        AllowedHosts(entries).check(url)


def test_a_pattern_allows_public_addresses_and_a_full_name_all() -> None:
    pattern, full = AllowedHosts(["*.example.com"]), AllowedHosts(["a.example.com", "*"])
    for allowed, address, expected in (
        (pattern, "8.8.8.8", True),
        (pattern, "10.0.0.1", False),
        (pattern, "fe80::1%eth0", False),
        (full, "10.0.0.1", True),
    ):
        assert allowed.allows_address("https://a.example.com/", address) is expected
    assert not full.allows_address("https://b.example.com/", "10.0.0.1")


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "100.64.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "::",
        "fc00::1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "ff02::1",
        "fec0::1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b:1::7f00:1",
    ],
)
def test_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("entry", ["", "http://a", "a:b", "a:0", "a:70000", "a b", "*a", "a*"])
def test_entries_that_cannot_be_read(entry: str) -> None:
    with pytest.raises(ValueError, match="expected host"):
        AllowedHosts([entry])
