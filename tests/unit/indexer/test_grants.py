"""Credentials and grants: the allowed settings, and the requests that a credential then opens."""

from __future__ import annotations

import base64
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.access.grants import (
    Credentials,
    EntryError,
    ForbiddenError,
    Grant,
    Right,
    Tenant,
    UnauthenticatedError,
    checked,
    digest_of,
    hash_password,
    holds_plain,
    parse_entries,
    parse_file,
    parse_grant,
    parse_tenant,
    presented,
)

WRITE = frozenset({Right.WRITE})
SALT = bytes(range(16))


@pytest.mark.parametrize(
    ("text", "grant"),
    [
        ("1:2", Grant(Tenant(1, 2), WRITE)),
        ("1:*", Grant(Tenant(1, None), WRITE)),
        ("*:*", Grant(None, WRITE)),
        ("1:2 query", Grant(Tenant(1, 2), frozenset({Right.QUERY}))),
        ("1:2 write,admin", Grant(Tenant(1, 2), frozenset({Right.WRITE, Right.ADMIN}))),
        ("1:* operator", Grant(Tenant(1, None), frozenset({Right.OPERATOR}))),
        ("1:2 expires=1970-01-02", Grant(Tenant(1, 2), WRITE, 86_400.0)),
        ("1:2 query expires=1970-01-01T02:00+01:00", Grant(Tenant(1, 2), frozenset({Right.QUERY}), 3_600.0)),
    ],
)  # fmt: skip
def test_grants(text: str, grant: Grant) -> None:
    assert parse_grant(text, WRITE) == grant


@pytest.mark.parametrize(
    "text",
    ["", "1", "1:", ":2", "*:2", "0:1", "1:2:3", "4294967296:1", "1:2 read", "1:2 write;query",
     "1:2 expires=soon", "*:* query", "1:2 ,"],
)  # fmt: skip
def test_grants_that_make_no_sense(text: str) -> None:
    with pytest.raises(EntryError):
        parse_grant(text, WRITE)


def test_a_file_says_every_right() -> None:
    with pytest.raises(EntryError, match="no right"):
        parse_grant("1:2")


@pytest.mark.parametrize("secret", ["", " x", "x ", "sha256:abc", "sha256:" + "G" * 64, "basic:ada:s3cret"])
def test_secrets_that_nothing_could_match_are_refused_unseen(secret: str) -> None:
    with pytest.raises(EntryError) as e:
        parse_entries({secret: "1:1"}, WRITE)
    assert "s3cret" not in str(e.value)


def test_a_secret_in_the_place_of_a_scope_is_not_shown() -> None:
    with pytest.raises(EntryError) as e:
        parse_entries({"1:1": "s3cret"}, WRITE)
    assert "s3cret" not in str(e.value)


def test_tokens_are_found_as_themselves_and_by_their_hash() -> None:
    tokens = {"plain": "1:1", f"sha256:{digest_of('hashed').hex()}": "1:2"}
    credentials = Credentials(parse_entries(tokens, WRITE))
    assert credentials.of_token("plain") == Grant(Tenant(1, 1), WRITE)
    assert credentials.of_token("hashed") == Grant(Tenant(1, 2), WRITE)
    for wrong in ("", "Plain", "plain ", *tokens.keys() - {"plain"}, "\udcff"):
        assert credentials.of_token(wrong) is None


def test_a_password() -> None:
    secret = f"basic:ada:scrypt:{SALT.hex()}:{hash_password('pass:word', SALT).hex()}"
    credentials = Credentials(parse_entries({secret: "1:*"}, WRITE))
    password = credentials.users["ada"].password
    assert password is not None
    assert password.matches("pass:word")
    assert not password.matches("pass")
    assert len(credentials) == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "missing"),
        (["Bearer a", "Bearer b"], "2 times"),
        (["Bearer a", "Bearer a"], "2 times"),
        (["Bearer"], "neither"),
        (["Bearer "], "neither"),
        (["Digest x"], "neither"),
        (["s3cret"], "neither"),
        (["Basic !"], "base64"),
        (["Basic " + base64.b64encode(b"ada").decode()], "base64"),
        (["Basic " + base64.b64encode(b"\xff:\xff").decode()], "base64"),
        (["Bearer " + "s3cret" * 1000], "longer"),
    ],
)
def test_headers_that_hold_no_credential(values: list[str], words: str) -> None:
    with pytest.raises(UnauthenticatedError, match=words) as e:
        presented(values)
    assert "s3cret" not in str(e.value)


def test_headers() -> None:
    assert presented([" bearer   a b "]).token == "a b"
    given = presented(["basic " + base64.b64encode("ädä:p:w".encode()).decode()])
    assert (given.name, given.password) == ("ädä", "p:w")


@given(st.lists(st.text(), max_size=2))
def test_no_header_raises_anything_else(values: list[str]) -> None:
    try:
        given = presented(values)
    except UnauthenticatedError:
        return
    assert Credentials([]).of_token(given.token) is None


def test_expiry() -> None:
    grant = parse_grant("1:1 expires=1970-01-02", WRITE)
    assert checked(grant, 86_399.9) is grant
    with pytest.raises(UnauthenticatedError, match="expired at 1970-01-02T00:00:00"):
        checked(grant, 86_400.0)
    with pytest.raises(UnauthenticatedError, match="not known"):
        checked(None, 0.0)
    assert Grant(None, WRITE).expires_s == math.inf


ids = st.integers(1, 4)


@given(st.sampled_from(["1:1", "1:*", "2:3", "*:*"]), ids, ids)
def test_what_a_scope_covers(text: str, org: int, project: int) -> None:
    grant = parse_grant(text, WRITE)
    wanted_org, wanted_project = text.split(":")
    inside = wanted_org in ("*", str(org)) and wanted_project in ("*", str(project))
    assert grant.covers(org, project) == inside
    if inside:
        grant.require_write(org, project)
    else:
        with pytest.raises(ForbiddenError, match=f"org {org}, project {project}: .*{wanted_org}"):
            grant.require_write(org, project)


def test_a_project_does_not_cover_its_org() -> None:
    assert not Tenant(1, 2).covers(1, None)
    assert Tenant(1, None).covers(1, None)
    assert parse_tenant("1:*") == Tenant(1, None)


def test_a_right_that_is_missing() -> None:
    with pytest.raises(ForbiddenError, match=r"may not query.* write for 1:2"):
        parse_grant("1:2", WRITE).require(Right.QUERY)


def test_a_file() -> None:
    text = (
        f"# tokens\n\nplain 1:1 write\nsha256:{digest_of('h').hex()}  1:2  query,admin  expires=2030-01-01\n"
    )
    credentials = Credentials(parse_file(text))
    found = credentials.of_token("h")
    assert found is not None
    assert found.rights == {Right.QUERY, Right.ADMIN}
    assert holds_plain(text)
    assert not holds_plain(f"# x\n\nsha256:{digest_of('h').hex()} 1:2 query")
    with pytest.raises(EntryError, match="line 2") as e:
        parse_file("# x\ns3cret 1:1")
    assert "s3cret" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "operates"),
    [("1:* query,admin", False), ("1:1 query,operator", True), ("*:* admin", True), ("*:* write", False)],
)
def test_who_sees_the_server(text: str, operates: bool) -> None:
    """The right admin of one org deletes its data; that of all orgs did both before there was "operator"."""
    grant = parse_grant(text)
    assert grant.operates is operates
    if not operates:
        with pytest.raises(ForbiddenError, match=r"expected the right operator, or admin for \*:\*"):
            grant.require_operator()


def test_a_scope_of_every_org_is_asked_for() -> None:
    Grant(None, frozenset(Right)).require_all()
    for tenant in (Tenant(1, None), Tenant(1, 2)):
        with pytest.raises(ForbiddenError, match=r"expected one with the scope \*:\*"):
            Grant(tenant, frozenset(Right)).require_all()


def test_a_write_needs_right_and_scope() -> None:
    Grant(Tenant(1, 2), WRITE).require_write(1, 2)
    for grant in (
        Grant(Tenant(1, 2), frozenset(Right) - WRITE),
        Grant(Tenant(1, 3), WRITE),
        Grant(Tenant(2, None), WRITE),
    ):
        with pytest.raises(ForbiddenError):
            grant.require_write(1, 2)


def test_the_org_of_the_doctor_is_no_tenant() -> None:
    assert parse_tenant(f"{2**32 - 2}:1") == Tenant(2**32 - 2, 1)
    assert parse_tenant(f"{2**32 - 1}:1") is None
    assert parse_tenant(f"1:{2**32 - 1}") == Tenant(1, 2**32 - 1)
