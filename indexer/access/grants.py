"""Credentials, their grants and rights: one model for writes (the indexer) and reads (the shim).

A credential is a bearer token, a name with a password, or a client's certificate. It has a grant: a tenant
(`1:2`, `1:*`, or `*:*` for every org), rights and perhaps an expiry. Settings and token files have the same
two texts for each:

    secret   sha256:<64 hex>, basic:<name>:scrypt:<salt>:<hash>, or the token itself
             cert:<common name>, or cert:sha256:<64 hex> (the fingerprint of a certificate)
    grant    1:2 [write,query,admin,operator] [expires=2027-01-31]

Pure: files, clocks and the cost of passwords belong to indexer/http/authenticator.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar, Final

import msgspec

MAX_ID: Final = 2**32 - 1
#: The last org of a tenant: that after it has the rows of `meterhouse doctor --write`.
MAX_ORG_ID: Final = MAX_ID - 1
#: The end of every error about an id of a project, and of one that may be an org's.
PROJECT_EXPECTED: Final = f"expected 1 to {MAX_ID}, as tables have 32 bits for it"
ID_EXPECTED: Final = f"{PROJECT_EXPECTED}; the org {MAX_ID} is reserved for meterhouse doctor"
WHOLE: Final = "*"
#: Maximum bytes of a presented credential; no token is longer.
MAX_CREDENTIAL_BYTES: Final = 4_096
#: The last second that a UTC datetime can hold.
_MAX_EXPIRY_S: Final = 253_402_300_799
_ID: Final = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
_PRESENTED: Final = re.compile(r"(bearer|basic) +(.+)", re.ASCII | re.IGNORECASE)
#: Characters of a name that an error shows.
_MAX_SHOWN: Final = 100
_SHA256: Final = re.compile(r"sha256:([0-9a-f]{64})")
_BASIC: Final = re.compile(r"basic:([^:\s]+):scrypt:([0-9a-f]{32}):([0-9a-f]{64})")
#: scrypt's cost: 16 MiB and some 60 ms a password.
_SCRYPT: Final = {"n": 1 << 14, "r": 8, "p": 1, "dklen": 32}


class Right(StrEnum):
    """The rights of a credential."""

    WRITE = "write"  # frames, messages, metadata and heartbeats
    QUERY = "query"  # the HTTP API of Prometheus
    ADMIN = "admin"  # deletions of the scope's data; for every org, the next one, too
    OPERATOR = "operator"  # the server: /metrics, set-aside batches, the /status of all orgs


class AccessError(Exception):
    """A refused request; the text never holds the credential."""

    status: ClassVar[int] = 401


class UnauthenticatedError(AccessError):
    """No credential, an unknown one, or one that has expired."""


class ForbiddenError(AccessError):
    """A known credential without the right, or for another org."""

    status = 403


class CheckingError(AccessError):
    """Too many passwords are being checked; the same request may succeed later."""

    status = 503


class EntryError(ValueError):
    """An unusable secret or grant in the settings; the text never holds the secret."""


class Tenant(msgspec.Struct, frozen=True):
    """One project of one org, or a whole org (`project_id` None: then a label of every series)."""

    org_id: int
    project_id: int | None

    def covers(self, org_id: int, project_id: int | None) -> bool:
        """Return whether this tenant includes that project, or that whole org."""
        return org_id == self.org_id and self.project_id in (None, project_id)

    def __str__(self) -> str:
        return f"{self.org_id}:{WHOLE if self.project_id is None else self.project_id}"


class Grant(msgspec.Struct, frozen=True):
    """The tenant, rights and expiry of a credential. `tenant` None: every org."""

    tenant: Tenant | None
    rights: frozenset[Right]
    expires_s: float = math.inf

    def require(self, right: Right) -> None:
        """Raise ForbiddenError if the grant lacks this right."""
        if right not in self.rights:
            has = ", ".join(sorted(self.rights))
            raise ForbiddenError(f"this credential may not {right}; it may {has} for {self}")

    @property
    def operates(self) -> bool:
        """Whether it may see the server, with facts of all orgs, whatever its scope is."""
        return Right.OPERATOR in self.rights or (Right.ADMIN in self.rights and self.tenant is None)

    def require_operator(self) -> None:
        """Raise ForbiddenError unless the grant may see the server."""
        if not self.operates:
            may = ", ".join(sorted(self.rights))
            raise ForbiddenError(
                f"this credential may {may} for {self}: expected the right operator, or admin for *:*"
            )

    def covers(self, org_id: int, project_id: int | None) -> bool:
        """Return whether that project, or that whole org, is inside the scope."""
        return self.tenant is None or self.tenant.covers(org_id, project_id)

    def require_all(self) -> None:
        """Raise ForbiddenError unless the scope is every org."""
        if self.tenant is not None:
            raise ForbiddenError(f"this credential is for {self} alone: expected one with the scope *:*")

    def require_write(self, org_id: int, project_id: int) -> None:
        """Raise ForbiddenError unless the grant allows writes to that project."""
        self.require(Right.WRITE)
        if not self.covers(org_id, project_id):
            raise ForbiddenError(foreign(org_id, project_id, self))

    def __str__(self) -> str:
        return "*:*" if self.tenant is None else str(self.tenant)


#: The grant of every request if no credentials are configured.
EVERYTHING: Final = Grant(None, frozenset(Right))


def foreign(org_id: int, project_id: int | str, grant: Grant) -> str:
    """Return an error text: a project is outside a grant."""
    return f"org {org_id}, project {project_id}: this credential may write to {grant} alone"


class Password(msgspec.Struct, frozen=True):
    """A salted scrypt hash."""

    salt: bytes
    hash: bytes

    def matches(self, password: str) -> bool:
        """Compare in constant time; takes some 60 ms of CPU, without the interpreter's lock."""
        return hmac.compare_digest(hash_password(password, self.salt), self.hash)


class Certificate(msgspec.Struct, frozen=True):
    """A client's certificate, verified against the CA of the listener.

    `name`: its common name; empty if it has none, or several.
    """

    name: str
    fingerprint: bytes
    not_after_s: float


class Entry(msgspec.Struct, frozen=True):
    """A credential with its grant.

    It has a `digest` (of a token), `name` and `password`, or `certificate` (a common name or a fingerprint).
    """

    grant: Grant
    digest: bytes = b""
    name: str = ""
    password: Password | None = None
    certificate: str | bytes = ""


class Presented(msgspec.Struct, frozen=True):
    """The credential of a request: a token, or a name with a password."""

    token: str = ""
    name: str = ""
    password: str = ""


class Credentials:
    """All credentials that one listener knows."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._tokens: dict[bytes, Entry] = {}
        self.users: dict[str, Entry] = {}
        self.certificates: dict[str | bytes, Entry] = {}
        for entry in entries:
            if entry.password is not None:
                self.users[entry.name] = entry
            elif entry.certificate:
                self.certificates[entry.certificate] = entry
            else:
                self._tokens[entry.digest] = entry

    def __len__(self) -> int:
        return len(self._tokens) + len(self.users) + len(self.certificates)

    def of_token(self, token: str) -> Grant | None:
        """Return the token's grant.

        Its duration reveals nothing about the tokens: a digest finds its entry by a hash that is random in
        each process, and is then compared in constant time.
        """
        sent = digest_of(token)
        entry = self._tokens.get(sent)
        return entry.grant if entry is not None and hmac.compare_digest(sent, entry.digest) else None

    def of_certificate(self, certificate: Certificate, now_s: float) -> Grant:
        """Return the grant of a certificate by its fingerprint, else by its name.

        Raises UnauthenticatedError.
        """
        entry = self.certificates.get(certificate.fingerprint)
        if entry is None and certificate.name:
            entry = self.certificates.get(certificate.name)
        if entry is None:
            raise UnauthenticatedError(
                f"the client certificate with the common name {certificate.name[:_MAX_SHOWN]!r} and the"
                f" SHA-256 {certificate.fingerprint.hex()} is not known here, and Authorization is missing"
            )
        if now_s >= min(certificate.not_after_s, entry.grant.expires_s):
            raise UnauthenticatedError("the client certificate has expired: expected a new one")
        return entry.grant


def presented(values: Sequence[str]) -> Presented:
    """Read the `Authorization` headers of a request. Raises UnauthenticatedError.

    Source: RFC 6750 section 2.1, RFC 7617 section 2.
    """
    wanted = "expected one header `Authorization: Bearer TOKEN`"
    if not values:
        raise UnauthenticatedError(f"Authorization is missing: {wanted}")
    if len(values) > 1:
        raise UnauthenticatedError(f"Authorization is given {len(values)} times: {wanted}")
    if len(values[0]) > MAX_CREDENTIAL_BYTES:
        raise UnauthenticatedError(f"Authorization is longer than {MAX_CREDENTIAL_BYTES} bytes: {wanted}")
    found = _PRESENTED.fullmatch(values[0].strip())
    if found is None:
        raise UnauthenticatedError(f"Authorization is neither Bearer nor Basic: {wanted}")
    if found[1].lower() == "bearer":
        return Presented(token=found[2])
    try:
        name, colon, password = base64.b64decode(found[2], validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if not colon:
        raise UnauthenticatedError("Authorization: Basic is followed by the base64 of NAME:PASSWORD")
    return Presented(name=name, password=password)


def checked(grant: Grant | None, now_s: float) -> Grant:
    """Return the grant if it is valid now. Raises UnauthenticatedError."""
    if grant is None:
        raise UnauthenticatedError(
            "Authorization: this token, or this name and password, is not known here: expected one of the"
            " settings tokens and tokens_file"
        )
    if now_s >= grant.expires_s:
        expired = datetime.fromtimestamp(grant.expires_s, UTC).isoformat(timespec="seconds")
        raise UnauthenticatedError(f"Authorization: this credential expired at {expired}")
    return grant


def digest_of(token: str) -> bytes:
    """Return the SHA-256 of a token, which may have any characters."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def hash_password(password: str, salt: bytes) -> bytes:
    """Return scrypt's hash."""
    return hashlib.scrypt(password.encode(errors="surrogatepass"), salt=salt, **_SCRYPT)


def parse_tenant(text: str) -> Tenant | None:
    """Parse `1:2` or `1:*`; return None for anything else."""
    org, colon, project = text.partition(":")
    if not colon or not _ID.fullmatch(org) or int(org) > MAX_ORG_ID:
        return None
    if project == WHOLE:
        return Tenant(int(org), None)
    if not _ID.fullmatch(project) or int(project) > MAX_ID:
        return None
    return Tenant(int(org), int(project))


def parse_grant(text: str, rights: frozenset[Right] = frozenset()) -> Grant:
    """Parse `1:2 [write,query,admin,operator] [expires=...]`; `rights`: those of a text that names none.

    Raises EntryError. Its text does not show the grant: it may be a secret in the wrong place.
    """
    scope, *words = text.split() or [""]
    tenant = parse_tenant(scope)
    if tenant is None and scope != "*:*":
        raise EntryError(f'the scope of a token is "org:project", "org:*" or "*:*"; an id: {ID_EXPECTED}')
    expires_s = math.inf
    for word in words:
        if word.startswith("expires="):
            expires_s = _expiry(word.removeprefix("expires="))
            continue
        try:
            rights = frozenset(Right(one) for one in word.split(","))
        except ValueError:
            raise EntryError(
                "after the scope of a token: expected write, query, admin, operator or expires=DATE"
            ) from None
    if not rights:
        raise EntryError("a token has no right: expected write, query, admin, operator or several of them")
    if tenant is None and Right.QUERY in rights:
        raise EntryError("*:* cannot query: a request reads one org")
    return Grant(tenant, rights, expires_s)


def _expiry(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise EntryError("expires= is not a date: expected 2027-01-31 or 2027-01-31T12:00:00Z") from None
    expires_s = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if not 0 <= expires_s <= _MAX_EXPIRY_S:
        raise EntryError("expires= is out of range: expected a date from 1970 to 9999")
    return expires_s


def parse_entry(secret: str, grant: Grant) -> Entry:
    """Parse a secret and its grant as the settings have them. Raises EntryError."""
    if not secret or secret != secret.strip():
        raise EntryError("a token is empty, or begins or ends with a space")
    if found := _SHA256.fullmatch(secret):
        return Entry(grant, digest=bytes.fromhex(found[1]))
    if found := _BASIC.fullmatch(secret):
        salt, hashed = bytes.fromhex(found[2]), bytes.fromhex(found[3])
        return Entry(grant, name=found[1], password=Password(salt, hashed))
    if secret.startswith("cert:"):
        return Entry(grant, certificate=parse_certificate(secret.removeprefix("cert:")))
    if secret.startswith(("sha256:", "basic:")):
        raise EntryError("a token is not sha256:<64 hex> or basic:NAME:scrypt:...: see meterhouse token")
    return Entry(grant, digest=digest_of(secret))


def parse_certificate(text: str) -> str | bytes:
    """Parse a common name, or `sha256:` with a fingerprint as OpenSSL prints it. Raises EntryError."""
    if not text.lower().startswith("sha256:"):
        if not text:
            raise EntryError("cert: without a name: expected cert:COMMON-NAME or cert:sha256:FINGERPRINT")
        return text
    try:
        digest = bytes.fromhex(text[len("sha256:") :].replace(":", ""))
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise EntryError("cert:sha256: is followed by the 64 hex digits of a certificate's SHA-256")
    return digest


def parse_entries(tokens: Mapping[str, str], rights: frozenset[Right]) -> list[Entry]:
    """Parse the settings' table secret -> grant; `rights`: of grants that name none. Raises EntryError."""
    return [parse_entry(secret, parse_grant(text, rights)) for secret, text in tokens.items()]


def parse_file(text: str) -> list[Entry]:
    """Parse a token file of lines `SECRET SCOPE RIGHTS [expires=...]`. Raises EntryError with the line."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        secret, _, rest = line.strip().partition(" ")
        if not secret or secret.startswith("#"):
            continue
        try:
            entries.append(parse_entry(secret, parse_grant(rest)))
        except EntryError as e:
            raise EntryError(f"line {number}: {e}") from None
    return entries


def holds_plain(text: str) -> bool:
    """Return whether a token file holds plain tokens, not only hashes."""
    secrets = [line.split(maxsplit=1)[0] for line in text.splitlines() if line.strip()]
    return any(not secret.startswith(("#", "sha256:", "basic:", "cert:")) for secret in secrets)
