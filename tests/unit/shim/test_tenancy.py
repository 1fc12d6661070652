"""The tenant of a request: every right way to ask, and every wrong one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from agent.config.load import ConfigError, load
from indexer.access.grants import UnauthenticatedError
from indexer.http.authenticator import Authenticator
from shim.model.errors import Forbidden, Unauthorized
from shim.model.tenancy import Proxy, TenancySettings, Tenant, TenantResolver, entries
from shim.settings import ShimSettings

SINGLE = TenancySettings()
HEADER = TenancySettings(mode="header")
TOKEN = TenancySettings(mode="token", tokens={"s3cret": "1:2", "org": "1:*", "other": "7:2"})


def ask(settings: TenancySettings, *headers: tuple[str, str]) -> Tenant:
    """As the shim does: the credential first (shim/http/authentication.py), then the tenant."""
    held = CIMultiDict(headers)
    if settings.mode != "token":
        return TenantResolver(settings).tenant(held)
    authenticator = Authenticator(entries(settings))
    return TenantResolver(settings).tenant(
        held, asyncio.run(authenticator.grant(held.getall("Authorization", ())))
    )


def refused(
    settings: TenancySettings,
    *headers: tuple[str, str],
    by: type[Exception] | tuple[type[Exception], ...] = (Unauthorized, UnauthenticatedError),
) -> str:
    with pytest.raises(by) as e:
        ask(settings, *headers)
    return str(e.value)


def test_single_tenant_mode_ignores_headers() -> None:
    assert ask(SINGLE) == Tenant(1, 1)
    assert ask(SINGLE, ("X-Org-Id", "9"), ("X-Scope-OrgID", "nonsense")) == Tenant(1, 1)
    assert ask(TenancySettings(org_id=3, project_id=4)) == Tenant(3, 4)


@pytest.mark.parametrize(
    ("headers", "tenant"),
    [
        ([("X-Org-Id", "1"), ("X-Project-Id", "2")], Tenant(1, 2)),
        ([("x-org-id", " 1 "), ("X-PROJECT-ID", "2")], Tenant(1, 2)),
        ([("X-Scope-OrgID", "1:2")], Tenant(1, 2)),
        ([("X-Scope-OrgID", "1:*")], Tenant(1, None)),
        ([("X-Org-Id", "1"), ("X-Project-Id", "*")], Tenant(1, None)),
        ([("X-Scope-OrgID", "4294967294:4294967295")], Tenant(2**32 - 2, 2**32 - 1)),
        ([("X-Scope-OrgID", "1:2"), ("X-Org-Id", "1"), ("X-Project-Id", "2")], Tenant(1, 2)),
    ],
)
def test_headers(headers: list[tuple[str, str]], tenant: Tenant) -> None:
    assert ask(HEADER, *headers) == tenant


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-Org-Id", "1")],  # no project is not "all projects"
        [("X-Project-Id", "2")],
        [("X-Org-Id", ""), ("X-Project-Id", "")],
        [("X-Scope-OrgID", "1")],
        [("X-Scope-OrgID", "1:")],
        [("X-Scope-OrgID", ":2")],
        [("X-Scope-OrgID", "*:2")],
        [("X-Scope-OrgID", "*:*")],
        [("X-Scope-OrgID", "1:2:3")],
        [("X-Scope-OrgID", "1:2|3:4")],  # Mimir's way to ask for two tenants
        [("X-Scope-OrgID", "1:2,3:4")],
        [("X-Scope-OrgID", "0:1")],
        [("X-Scope-OrgID", "-1:1")],
        [("X-Scope-OrgID", "1:0x2")],
        [("X-Scope-OrgID", "1:2 OR 1=1")],
        [("X-Scope-OrgID", "١:٢")],  # digits, but not ours
        [("X-Scope-OrgID", "4294967296:1")],  # would wrap to org 0
        [("X-Scope-OrgID", "1:4294967298")],
        [("X-Scope-OrgID", "01:2")],
        [("X-Org-Id", "1:2"), ("X-Project-Id", "3")],
        [("X-Scope-OrgID", "1:2"), ("X-Org-Id", "1"), ("X-Project-Id", "3")],  # contradicts itself
        [("X-Scope-OrgID", "1:2"), ("X-Org-Id", "1")],
        [("X-Org-Id", "1"), ("X-Org-Id", "2"), ("X-Project-Id", "2")],  # a header smuggled in beside
        [("X-Scope-OrgID", "1:2"), ("X-Scope-OrgID", "1:2")],
    ],
)
def test_bad_headers_are_refused(headers: list[tuple[str, str]]) -> None:
    refused(HEADER, *headers)


@given(st.text(alphabet="0123456789:*,|-+ x\x00", max_size=12))
def test_no_header_gives_more_than_one_tenant(text: str) -> None:
    try:
        tenant = ask(HEADER, ("X-Scope-OrgID", text))
    except Unauthorized:
        return
    project = "*" if tenant.project_id is None else str(tenant.project_id)
    assert text.strip() == f"{tenant.org_id}:{project}"


@pytest.mark.parametrize("scheme", ["Bearer s3cret", "bearer  s3cret", " Bearer s3cret "])
def test_tokens(scheme: str) -> None:
    assert ask(TOKEN, ("Authorization", scheme)) == Tenant(1, 2)


@pytest.mark.parametrize(
    "value",
    ["", "s3cret", "Bearer", "Bearer ", "Bearer S3CRET", "Bearer s3cre", "Basic s3cret", "Bearer s3cret x"],
)
def test_bad_tokens_are_refused(value: str) -> None:
    assert "s3cre" not in refused(TOKEN, ("Authorization", value))


def test_no_token_and_two_tokens_are_refused() -> None:
    refused(TOKEN)
    refused(TOKEN, ("X-Scope-OrgID", "1:2"))
    refused(TOKEN, ("Authorization", "Bearer s3cret"), ("Authorization", "Bearer org"))


def test_headers_beside_a_token_may_narrow_and_nothing_else() -> None:
    project, org = ("Authorization", "Bearer s3cret"), ("Authorization", "Bearer org")
    assert ask(TOKEN, org) == Tenant(1, None)
    assert ask(TOKEN, org, ("X-Scope-OrgID", "1:5")) == Tenant(1, 5)
    assert ask(TOKEN, project, ("X-Scope-OrgID", "1:2")) == Tenant(1, 2)
    refused(TOKEN, project, ("X-Scope-OrgID", "1:3"), by=Forbidden)
    refused(TOKEN, project, ("X-Scope-OrgID", "1:*"), by=Forbidden)
    assert "org 7" in refused(TOKEN, org, ("X-Scope-OrgID", "7:2"), by=Forbidden)
    refused(TOKEN, org, ("X-Scope-OrgID", "7:*"), by=Forbidden)
    refused(TOKEN, org, ("X-Org-Id", "1"))


@pytest.mark.parametrize(
    "toml",
    [
        '[tenancy]\nmode = "token"',
        '[tenancy]\nmode = "token"\ntokens = {a = "1"}',
        '[tenancy]\nmode = "token"\ntokens = {a = "*:*"}',
        '[tenancy]\nmode = "token"\ntokens = {a = "*:* query"}',
        '[tenancy]\nmode = "token"\ntokens = {"" = "1:1"}',
        '[tenancy]\nmode = "token"\ntokens = {"sha256:abc" = "1:1"}',
        '[tenancy]\nmode = "anything"',
        "[tenancy]\norg_id = 0",
        "[tenancy]\nproject_id = 4294967296",
    ],
)
def test_settings_that_make_no_sense_are_refused(toml: str) -> None:
    with pytest.raises(ConfigError):
        load(ShimSettings, toml)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('mode = "token"\ntokens = {x = "1:1"}\nproxy_secret = "x"', "header"),
        ('proxy_cert = "x"', "header"),
        ('mode = "header"\nproxy_secret = "cert:x"', "the secret itself or sha256"),
        ('mode = "header"\nproxy_secret = "sha256:zz"', "sha256:<64 hex>"),
        ('mode = "header"\nproxy_cert = "sha256:zz"', "64 hex digits"),
        ('mode = "header"\nproxy_cert = "proxy"', "tls.client_ca"),
    ],
)
def test_proxies_that_cannot_be_known(toml: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as e:
        load(ShimSettings, f"[tenancy]\n{toml}")
    assert "zz" not in str(e.value)


def test_a_secret_given_twice_is_refused() -> None:
    proxy = Proxy(TenancySettings(mode="header", proxy_secret="s"))
    proxy.require(CIMultiDict([("X-Proxy-Secret", "s")]), None)
    with pytest.raises(Unauthorized):
        proxy.require(CIMultiDict([("X-Proxy-Secret", "s"), ("X-Proxy-Secret", "s")]), None)
